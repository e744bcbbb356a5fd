// The explorer finds the eight seeded bugs of sleeping and waking, each under the memory models in
// which it is one, and nothing wrong with the protocols that are right.

#include "gyre/tests/loop/model/wake_protocols.h"

#include <cstdio>
#include <string>

#include "gtest/gtest.h"

namespace gyre::model {
namespace {

struct Case {
  WakeProtocol protocol;
  const char* name;
  bool lost_sequential, lost_store_buffers, lost_acquire_release;
};

class WakeProtocols : public ::testing::TestWithParam<Case> {
 protected:
  void expect(MemoryModel model, bool lost) {
    const Result result = explore_protocol(GetParam().protocol, model);
    std::printf("%s: %llu states, %s\n", to_string(model),
                static_cast<unsigned long long>(result.states),
                result.failure.empty() ? "nothing wrong" : result.failure.c_str());
    EXPECT_EQ(result.failure, lost ? "a lost wake-up" : "") << result.to_string();
  }
};

TEST_P(WakeProtocols, LosesAWakeUpWhereItIsWrong) {
  expect(MemoryModel::kSequential, GetParam().lost_sequential);
  expect(MemoryModel::kStoreBuffers, GetParam().lost_store_buffers);
  expect(MemoryModel::kAcquireRelease, GetParam().lost_acquire_release);
}

using P = WakeProtocol;
INSTANTIATE_TEST_SUITE_P(
    All, WakeProtocols,
    // The last column of A and BStored: the model's kernel hands over nothing with a wake-up, and
    // neither do these two, so the consumer may wake and see no node. An eventfd does hand it over,
    // but nothing promises that; gyre's queue does not need it.
    ::testing::Values(Case{P::kWakeAlways, "A", false, false, true},
                      Case{P::kAsleepFlagStored, "BStored", false, false, true},
                      Case{P::kAsleepFlag, "B", false, false, false},
                      Case{P::kAsleepFences, "B2", false, false, false},
                      Case{P::kLatch, "C", false, false, false},
                      Case{P::kTaggedStack, "F", false, false, false},
                      Case{P::kM1ConsumerStores, "M1", false, true, true},
                      Case{P::kM2ProducerLoads, "M2", false, true, true},
                      Case{P::kM3NoSecondLook, "M3", true, true, true},
                      Case{P::kM4LatchStored, "M4", false, true, true},
                      Case{P::kM5LatchClearedLate, "M5", true, true, true},
                      Case{P::kM6LatchReadFirst, "M6", false, true, true},
                      Case{P::kM7WakeAtTheEdge, "M7", false, true, true},
                      Case{P::kM8DecidedBeforeLink, "M8", true, true, true}),
    [](const ::testing::TestParamInfo<Case>& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace gyre::model
