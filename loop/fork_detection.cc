#include "gyre/loop/fork_detection.h"

#include <pthread.h>

namespace gyre::internal {

constinit std::atomic<uint32_t> g_fork_generation{0};

void watch_forks() {
  // In the child only its one thread runs, so a plain increment would do.
  static const int registered = pthread_atfork(
      nullptr, nullptr, [] { g_fork_generation.fetch_add(1, std::memory_order_relaxed); });
  static_cast<void>(registered);
}

}  // namespace gyre::internal
