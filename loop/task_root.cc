#include "gyre/loop/task_root.h"

#include <chrono>
#include <vector>

#include "gyre/loop/io_loop.h"

namespace gyre::internal {

void TaskRoot::start(std::coroutine_handle<> outermost) {
  if (!loop_->tasks_.add(*this)) return destroy();  // the loop is closed
  run(outermost);
}

void TaskRoot::run(std::coroutine_handle<> coroutine) {
  const std::shared_ptr<TaskRoot> keep = shared_from_this();
  running_ = true;
  next_ = coroutine;
  while (next_ != nullptr) {
    while (next_ != nullptr) std::exchange(next_, nullptr).resume();
    // After a hop that succeeded another thread may run the chain.
    if (hop_.target != nullptr && leave_for_target()) return;
  }
  running_ = false;
  if (finished_) finish();
}

// Rebinds the root and posts its resumption to the target. False: the target is closed, and the
// coroutine goes on here.
bool TaskRoot::leave_for_target() {
  const Hop hop = std::exchange(hop_, {});
  IOLoop& source = *loop_;
  IOLoop& target = *hop.target;
  const std::shared_ptr<CallbackQueue> queue = target.queue_;
  const uint64_t epoch = suspend(hop.coroutine);
  running_ = false;
  std::shared_ptr<TaskRoot> self = source.tasks_.remove(*this);
  {
    MutexLock lock(mutex_);
    loop_ = &target;
  }
  // Once it is in the target's registry, the target's close() may destroy the chain.
  bool moved = target.tasks_.add(*this);
  if (moved && !queue->post(CallSite(), [self, epoch] { self->resume(epoch); })) {
    // Closed in between: it is ours again, unless close() found it in the registry.
    if (target.tasks_.remove(*this) == nullptr) return true;
    moved = false;
  }
  if (moved) return true;
  {
    MutexLock lock(mutex_);
    loop_ = &source;
  }
  source.tasks_.add(*this);  // cannot fail: the source runs, so nobody closes it
  *hop.refused = true;
  running_ = true;
  next_ = hop.coroutine;
  return false;
}

void TaskRoot::finish() {
  const std::shared_ptr<TaskRoot> owned = loop_->tasks_.remove(*this);
  on_finished();
  destroy_frames();
  mark_gone();
  on_gone();
}

void TaskRoot::destroy() {
  destroy_frames();
  mark_gone();
}

bool TaskRoot::bound_to(const IOLoop& loop) {
  MutexLock lock(mutex_);
  return loop_ == &loop;
}

void TaskRoot::mark_gone() {
  MutexLock lock(mutex_);
  gone_ = true;
  gone_changed_.notify_all();
}

void TaskRoot::abandon(IOLoop& caller) {
  constexpr std::chrono::milliseconds kRetry(1);
  IOLoop* asked = nullptr;
  mutex_.lock();
  while (!gone_) {
    // While the lock is held and the root is not gone, its loop cannot finish closing.
    IOLoop& loop = *loop_;
    if (&loop == &caller || loop.affinity_.try_lease_now()) {
      mutex_.unlock();
      const std::shared_ptr<TaskRoot> owned = loop.tasks_.remove(*this);
      if (owned != nullptr) destroy();
      if (&loop != &caller) loop.affinity_.end_lease();
      mutex_.lock();
      continue;
    }
    if (asked != &loop) {
      asked = &loop;
      loop.tasks_.ask_to_destroy(shared_from_this());
      loop.queue_->post(CallSite(), [&loop] { loop.tasks_.destroy_asked(loop); });
    }
    if (caller.in_loop_thread()) {
      // The other loop may wait in the same way for one of ours.
      mutex_.unlock();
      caller.tasks_.destroy_asked(caller);
      mutex_.lock();
      if (gone_) break;
    }
    // That loop may be stopped before it comes to the post: look again from time to time.
    gone_changed_.wait_for(mutex_, kRetry);
  }
  mutex_.unlock();
}

bool TaskRegistry::add(TaskRoot& root) {
  MutexLock lock(mutex_);
  if (closed_) return false;
  root.self_ = root.shared_from_this();
  root.previous_ = nullptr;
  root.following_ = first_;
  if (first_ != nullptr) first_->previous_ = &root;
  first_ = &root;
  return true;
}

std::shared_ptr<TaskRoot> TaskRegistry::remove(TaskRoot& root) {
  MutexLock lock(mutex_);
  // Not in any list, or close() is taking it. (A root in another loop's list is never asked for.)
  if (root.self_ == nullptr) return nullptr;
  (root.previous_ != nullptr ? root.previous_->following_ : first_) = root.following_;
  if (root.following_ != nullptr) root.following_->previous_ = root.previous_;
  root.previous_ = root.following_ = nullptr;
  return std::move(root.self_);
}

void TaskRegistry::ask_to_destroy(std::shared_ptr<TaskRoot> root) {
  MutexLock lock(mutex_);
  asked_.push_back(std::move(root));
}

void TaskRegistry::destroy_asked(IOLoop& loop) {
  std::vector<std::shared_ptr<TaskRoot>> asked;
  {
    MutexLock lock(mutex_);
    asked = std::exchange(asked_, {});
  }
  for (std::shared_ptr<TaskRoot>& root : asked) {
    if (!root->bound_to(loop)) continue;  // it went on, to a third loop
    if (root->running_) {
      // Further down on this stack: the post that came with the question finds it suspended.
      ask_to_destroy(std::move(root));
    } else if (remove(*root) != nullptr) {
      root->destroy();
    }
  }
}

size_t TaskRegistry::count() {
  MutexLock lock(mutex_);
  size_t count = 0;
  for (const TaskRoot* root = first_; root != nullptr; root = root->following_) ++count;
  return count;
}

void TaskRegistry::close() {
  for (;;) {
    std::shared_ptr<TaskRoot> root;
    {
      MutexLock lock(mutex_);
      closed_ = true;
      if (first_ == nullptr) return;
      root = std::move(first_->self_);
      first_ = root->following_;
      if (first_ != nullptr) first_->previous_ = nullptr;
      root->previous_ = root->following_ = nullptr;
    }
    root->destroy();  // user code: not under the lock
  }
}

}  // namespace gyre::internal
