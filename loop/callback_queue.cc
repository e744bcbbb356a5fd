#include "gyre/loop/callback_queue.h"

#include <thread>

namespace gyre::internal {
namespace {

// errno belongs to the code that the signal interrupted.
class ErrnoKeeper {
 public:
  ~ErrnoKeeper() { errno = saved_; }

 private:
  const int saved_ = errno;
};

}  // namespace

bool CallbackQueue::push_remote(CallbackNode* node) {
  // After true the node may have run and the loop be gone: nothing of it is touched any more.
  if (!forked() && queue_.push(node, waker_)) [[likely]]
    return true;
  discard_refused(node);
  return false;
}

// Not release(): that is the consumer's. A signal's slot does not come here.
void CallbackQueue::discard_refused(CallbackNode* node) {
  node->destroy();
  if (node->origin() == CallbackNode::Origin::kHeap) {
    ::operator delete(node);
  } else {
    NodeArena::release_one(node);
  }
}

bool CallbackQueue::push_from_signal(CallbackNode* node) {
  ErrnoKeeper keeper;
  if (queue_.push(node, waker_)) return true;
  slots_.give(node);  // trivially copyable, hence trivially destroyed
  return false;
}

void CallbackQueue::request_stop() {
  if (forked()) return;
  ErrnoKeeper keeper;
  queue_.request_stop(waker_);
}

void CallbackQueue::accept(const MpscQueue<>::Batch& batch) {
  stop_ |= batch.stop;
  queued_ += batch.count;
  if (batch.first == nullptr) return;
  pending_.append(static_cast<CallbackNode*>(batch.first), static_cast<CallbackNode*>(batch.last));
}

void CallbackQueue::begin_batch() {
  if (remote_seen_ || !queue_.empty_hint()) take_remote();
  depth_.store(queued_, std::memory_order_relaxed);
  if (queued_ > max_depth_.load(std::memory_order_relaxed))
    max_depth_.store(queued_, std::memory_order_relaxed);
  if (pending_.first == nullptr) return;
  batch_.append(pending_.first, pending_.last);
  pending_ = {};
}

bool CallbackQueue::finish_sleep() {
  remote_seen_ = false;
  const MpscQueue<>::Batch batch = queue_.take_all(/*slept=*/true);
  accept(batch);
  return batch.woken;
}

void CallbackQueue::finish_batch() {
  if (bounded_done_ > 0)
    bounded_.fetch_sub(std::exchange(bounded_done_, 0), std::memory_order_relaxed);
}

void CallbackQueue::clear_stop() {
  if (look().stop) take_remote();
  stop_ = false;
}

void CallbackQueue::release_other(CallbackNode* node, NodeReleaser& releaser) {
  switch (node->origin()) {
    case CallbackNode::Origin::kArena:
    case CallbackNode::Origin::kBoundedArena:
      ++bounded_done_;
      releaser.release(node);
      break;
    case CallbackNode::Origin::kHeap:
      ::operator delete(node);
      break;
    case CallbackNode::Origin::kSignalSlot:
      slots_.give(node);
      break;
  }
}

void CallbackQueue::discard(CallbackNode* first) {
  NodeReleaser releaser;
  while (first != nullptr) {
    CallbackNode* next = first->next_node();
    first->destroy();
    release(first, releaser);
    first = next;
  }
}

void CallbackQueue::close() {
  if (closed()) return;
  accept(queue_.close());
  // Closed first, so that a destructor that posts is refused; then the oldest first, as they would
  // have run.
  if (!forked()) {
    while (!queue_.all_wakes_sent()) std::this_thread::yield();
  }
  discard(std::exchange(batch_, {}).first);
  discard(std::exchange(pending_, {}).first);
  finish_batch();
}

}  // namespace gyre::internal
