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
  if (!forked() && queue_.push(node, waker_)) [[likely]] return true;
  node->destroy();
  NodeReleaser releaser;
  release(node, releaser);
  return false;
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
  if (batch.first == nullptr) return;
  pending_.append(static_cast<CallbackNode*>(batch.first), static_cast<CallbackNode*>(batch.last));
}

void CallbackQueue::begin_batch() {
  if (!queue_.empty_hint()) take_remote();
  if (pending_.first == nullptr) return;
  batch_.append(pending_.first, pending_.last);
  pending_ = {};
}

bool CallbackQueue::finish_sleep() {
  const MpscQueue<>::Batch batch = queue_.take_all(/*slept=*/true);
  accept(batch);
  return batch.woken;
}

void CallbackQueue::clear_stop() {
  if (queue_.stop_hint()) take_remote();
  stop_ = false;
}

void CallbackQueue::release(CallbackNode* node, NodeReleaser& releaser) {
  switch (node->origin()) {
    case CallbackNode::Origin::kArena: releaser.release(node); break;
    case CallbackNode::Origin::kHeap: ::operator delete(node); break;
    case CallbackNode::Origin::kSignalSlot: slots_.give(node); break;
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
}

}  // namespace gyre::internal
