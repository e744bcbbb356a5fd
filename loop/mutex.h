#ifndef GYRE_LOOP_MUTEX_H_
#define GYRE_LOOP_MUTEX_H_

#include <mutex>

#include "absl/base/thread_annotations.h"

namespace gyre::internal {

// std::mutex with the annotations of clang's thread-safety analysis. Not absl::Mutex: a
// distribution's Abseil is not built for ThreadSanitizer, which then sees races where there are
// none. Waits with std::condition_variable_any.
class ABSL_LOCKABLE Mutex {
 public:
  Mutex() = default;
  Mutex(const Mutex&) = delete;
  Mutex& operator=(const Mutex&) = delete;

  void lock() ABSL_EXCLUSIVE_LOCK_FUNCTION() { mutex_.lock(); }
  void unlock() ABSL_UNLOCK_FUNCTION() { mutex_.unlock(); }

 private:
  std::mutex mutex_;
};

// Holds a mutex for a scope.
class ABSL_SCOPED_LOCKABLE MutexLock {
 public:
  explicit MutexLock(Mutex& mutex) ABSL_EXCLUSIVE_LOCK_FUNCTION(mutex) : mutex_(mutex) {
    mutex_.lock();
  }
  ~MutexLock() ABSL_UNLOCK_FUNCTION() { mutex_.unlock(); }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

 private:
  Mutex& mutex_;
};

}  // namespace gyre::internal

#endif  // GYRE_LOOP_MUTEX_H_
