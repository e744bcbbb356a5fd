#include "gyre/loop/callback_queue.h"

#include <chrono>
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

// A post whose way to its run is timed. It stands in the queue for the node that it holds, which
// has no room for the time: so the posts that are not drawn cost no byte.
class CallbackQueue::TimedCall {
 public:
  TimedCall(CallbackQueue& queue, CallbackNode* node)
      : queue_(&queue), node_(node), posted_(std::chrono::steady_clock::now()) {}
  TimedCall(TimedCall&& other) noexcept
      : queue_(other.queue_), node_(std::exchange(other.node_, nullptr)), posted_(other.posted_) {}
  ~TimedCall() {
    if (node_ != nullptr) discard_refused(node_);
  }

  void operator()() {
    queue_->post_latency_.record(std::chrono::steady_clock::now() - posted_);
    struct Freer {  // also if the callable throws
      CallbackNode* node;
      ~Freer() { free_memory(node); }
    } freer{std::exchange(node_, nullptr)};
    freer.node->run_and_destroy();
  }

 private:
  CallbackQueue* queue_;
  CallbackNode* node_;
  // The real clock, also where the loop has another: threads wait for each other in real time.
  std::chrono::steady_clock::time_point posted_;
};

CallbackNode* CallbackQueue::timed(CallbackNode* node) {
  TimedCall call(*this, node);
  // The place under the limit is the outer node's now: it is the one that is released.
  if (node->origin() == CallbackNode::Origin::kBoundedArena)
    return new_arena_node<CallbackNode::Origin::kBoundedArena>(node->site(), std::move(call));
  return new_posted_node(node->site(), std::move(call));
}

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
  free_memory(node);
}

void CallbackQueue::free_memory(CallbackNode* node) {
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

void CallbackQueue::accept(const MpscInbox<>::Batch& batch) {
  if (batch.first == nullptr) return;
  queued_ += batch.count;
  posts_from_outside_.add(batch.count);
  wakeups_saved_.add(batch.count - batch.woken);
  pending_.append(static_cast<CallbackNode*>(batch.first), static_cast<CallbackNode*>(batch.last));
}

void CallbackQueue::begin_batch() {
  if (queue_.may_have_nodes()) accept(queue_.take());
  depth_.set(queued_);
  max_depth_.raise_to(queued_);
  if (pending_.first == nullptr) return;
  batch_.append(pending_.first, pending_.last);
  pending_ = {};
}

bool CallbackQueue::finish_sleep() {
  const MpscInbox<>::Batch batch = queue_.finish_sleep();
  accept(batch);
  return batch.woken;
}

void CallbackQueue::finish_batch() {
  if (bounded_done_ > 0)
    bounded_.fetch_sub(std::exchange(bounded_done_, 0), std::memory_order_relaxed);
}

void CallbackQueue::release_other(CallbackNode* node, NodeReleaser& releaser) {
  switch (node->origin()) {
    case CallbackNode::Origin::kArena:
      releaser.release(node);
      break;
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
  // Closed first, so that a destructor that posts is refused; then the oldest first, as they would
  // have run.
  accept(queue_.close([this] {
    if (forked()) return false;  // those who owe a wake-up are threads of the parent
    std::this_thread::yield();
    return true;
  }));
  discard(std::exchange(batch_, {}).first);
  discard(std::exchange(pending_, {}).first);
  finish_batch();
}

}  // namespace gyre::internal
