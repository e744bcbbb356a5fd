#ifndef GYRE_LOOP_FORK_DETECTION_H_
#define GYRE_LOOP_FORK_DETECTION_H_

#include "gyre/loop/cxx20.h"  // before all else

#include <atomic>
#include <cstdint>

namespace gyre::internal {

extern constinit std::atomic<uint32_t> g_fork_generation;

// Counts the forks between the first process that used gyre and this one: what remembers the number
// of its birth can tell that it was inherited. Any thread. Signal-safe, one relaxed load.
inline uint32_t fork_generation() { return g_fork_generation.load(std::memory_order_relaxed); }

// Starts the counting (pthread_atfork). Any thread, any number of times.
void watch_forks();

}  // namespace gyre::internal

#endif  // GYRE_LOOP_FORK_DETECTION_H_
