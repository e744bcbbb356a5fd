#ifndef GYRE_TESTS_LOOP_MODEL_WAKE_PROTOCOLS_H_
#define GYRE_TESTS_LOOP_MODEL_WAKE_PROTOCOLS_H_

#include "gyre/tests/loop/model/explorer.h"

namespace gyre::model {

// Ways to put a consumer to sleep and to wake it that other event loops use or have used: some that
// are right, and eight (M1 to M8) that plausible code gets wrong. All but kTaggedStack are about a
// linked queue of which a producer takes the end by an exchange and links its node to it
// afterwards, so that the consumer may see a gap.
enum class WakeProtocol {
  kWakeAlways,        // A: a wake-up for each push; relies on the kernel to hand over the node
  kAsleepFlag,        // B: asleep is exchanged on both sides, and the queue is looked at again
  kAsleepFlagStored,  // B, but a consumer that was woken stores that it is awake
  kAsleepFences,      // B2: the same with stores, loads and fences
  kLatch,        // C: pending is exchanged by the producer, and before it looks by the consumer
  kTaggedStack,  // F: one word with the newest node, or a tag for a consumer that sleeps
  kM1ConsumerStores,     // B, but the consumer stores asleep, without a fence
  kM2ProducerLoads,      // B, but the producer loads asleep, without a fence
  kM3NoSecondLook,       // B, but the queue is not looked at again
  kM4LatchStored,        // C, but pending is stored
  kM5LatchClearedLate,   // C, but pending is cleared after the look, before the sleep
  kM6LatchReadFirst,     // C, but a producer that reads it as set does not exchange it
  kM7WakeAtTheEdge,      // a wake-up only if the node before is where the consumer saw the end
  kM8DecidedBeforeLink,  // B, but asleep is exchanged before the node is linked
};

// Two producers with two pushes and with one. The failure is a lost wake-up.
Result explore_protocol(WakeProtocol protocol, MemoryModel model);

}  // namespace gyre::model

#endif  // GYRE_TESTS_LOOP_MODEL_WAKE_PROTOCOLS_H_
