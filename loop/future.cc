#include "gyre/loop/future.h"

namespace gyre::internal {

FutureStateBase::~FutureStateBase() { cancel_post(); }

void FutureStateBase::post_when_done(std::shared_ptr<CallbackQueue> queue, CallbackNode* node) {
  {
    MutexLock lock(mutex_);
    if (!done()) {
      GYRE_CHECK(node_ == nullptr, "a future is awaited twice at the same time");
      queue_ = std::move(queue);
      node_ = node;
      return;
    }
  }
  queue->push(node);
}

void FutureStateBase::cancel_post() {
  std::shared_ptr<CallbackQueue> queue;
  CallbackNode* node;
  {
    MutexLock lock(mutex_);
    queue = std::move(queue_);
    node = std::exchange(node_, nullptr);
  }
  if (node == nullptr) return;
  CallbackQueue::discard_refused(node);
}

void FutureStateBase::set_exception(std::exception_ptr error) {
  begin_completion();
  error_ = std::move(error);
  complete();
}

void FutureStateBase::break_promise() {
  {
    MutexLock lock(mutex_);
    if (claimed_) return;
    claimed_ = true;
  }
  broken_ = true;
  complete();
}

void FutureStateBase::begin_completion() {
  MutexLock lock(mutex_);
  GYRE_CHECK(!claimed_,
             "a promise may be set once: its future has a value or an exception already");
  claimed_ = true;
}

void FutureStateBase::undo_begin() {
  MutexLock lock(mutex_);
  claimed_ = false;
}

void FutureStateBase::complete() {
  std::shared_ptr<CallbackQueue> queue;
  CallbackNode* node;
  {
    MutexLock lock(mutex_);
    done_.store(true, std::memory_order_release);
    queue = std::move(queue_);
    node = std::exchange(node_, nullptr);
  }
  // After the lock: a queue that is closed destroys the callback here, which is user code.
  if (node != nullptr) queue->push(node);
}

void FutureStateBase::rethrow_if_failed() const {
#if defined(__cpp_exceptions)
  if (error_ != nullptr) std::rethrow_exception(error_);
  if (broken_) throw BrokenPromise();
#else
  GYRE_CHECK(error_ == nullptr && !broken_,
             "get() of a future that failed (built without exceptions)");
#endif
}

}  // namespace gyre::internal
