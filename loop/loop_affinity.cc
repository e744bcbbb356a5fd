#include "gyre/loop/loop_affinity.h"

#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <thread>

#include "gyre/loop/log.h"

namespace gyre::internal {
namespace {

std::string thread_name() {
  char name[64] = "";
  ::pthread_getname_np(::pthread_self(), name, sizeof(name));
  return name;
}

}  // namespace

int64_t LoopAffinity::read_thread_id() {
#if defined(SYS_gettid)
  return ::syscall(SYS_gettid);
#else
  // Any number that differs between threads.
  static constinit std::atomic<int64_t> next{1};
  return next.fetch_add(1, std::memory_order_relaxed);
#endif
}

bool LoopAffinity::try_take(int64_t owner) {
  for (;;) {
    int64_t expected = kIdle;
    if (owner_.compare_exchange_weak(expected, owner, std::memory_order_acquire,
                                     std::memory_order_relaxed)) {
      return true;
    }
    if (expected > 0) return false;
    if (expected == kLeased) std::this_thread::yield();  // for as long as destroying a task takes
  }
}

bool LoopAffinity::try_run() { return try_take(thread_id()); }
void LoopAffinity::end_run() { owner_.store(kIdle, std::memory_order_release); }
bool LoopAffinity::try_lease() { return try_take(kLeased); }
bool LoopAffinity::try_lease_now() {
  int64_t expected = kIdle;
  return owner_.compare_exchange_strong(expected, kLeased, std::memory_order_acquire,
                                        std::memory_order_relaxed);
}

void LoopAffinity::end_lease() { owner_.store(kIdle, std::memory_order_release); }

void LoopAffinity::check_here(const char* what, int64_t owner) const {
  GYRE_CHECK(
      owner == thread_id(),
      "%s called from thread %d (%s), but loop \"%s\" runs in thread %d: only add_callback and "
      "stop may be called from another thread. Post it: loop.add_callback([...] { ... })",
      what, thread_id(), thread_name(), loop_name_, owner);
}

}  // namespace gyre::internal
