#ifndef GYRE_LOOP_CALLBACK_QUEUE_H_
#define GYRE_LOOP_CALLBACK_QUEUE_H_

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <memory>
#include <type_traits>
#include <utility>

#include "gyre/loop/callback_node.h"
#include "gyre/loop/counter.h"
#include "gyre/loop/duration_histogram.h"
#include "gyre/loop/fork_detection.h"
#include "gyre/loop/mpsc_inbox.h"
#include "gyre/loop/post_sampler.h"
#include "gyre/loop/signal_slots.h"

namespace gyre::internal {

// Ends the wait of a sleeping consumer. Any thread. Signal-safe.
class Waker {
 public:
  virtual void wake() noexcept = 0;

 protected:
  ~Waker() = default;
};

// The callbacks of one loop: posted by any thread, run by the loop's thread in order of arrival.
//
//     other threads, signals --> MpscInbox --+
//                                            +--> pending_ --> batch_ --> pop
//     the loop's own thread -----------------+
//
// A post from the loop's own thread goes to pending_ directly, after what other threads pushed
// before it was moved there; so it costs no atomic read-modify-write and the order is still that of
// arrival over all threads.
//
// Owned jointly by the loop and by what has to reach it later (promises): after close it refuses
// every post and touches nothing of the loop.
class CallbackQueue {
 public:
  // `waker` has to live until close() returned. `limit`: how many try_post may have queued.
  explicit CallbackQueue(Waker& waker, size_t limit = SIZE_MAX)
      : limit_(limit), waker_(waker), fork_generation_(fork_generation()) {}
  CallbackQueue(const CallbackQueue&) = delete;
  CallbackQueue& operator=(const CallbackQueue&) = delete;
  ~CallbackQueue() = default;

  // Any thread. False: closed, and the callable is destroyed before the return.
  template <class F, class... A>
  bool post(CallSite site, F&& f, A&&... a) {
    if (!running_here()) queue_.prepare_to_push();
    CallbackNode* node = new_posted_node(site, std::forward<F>(f), std::forward<A>(a)...);
    if (PostSampler::draw()) [[unlikely]]
      node = timed(node);
    return push(node);
  }

  // Any thread. False also when as many are queued as the limit says: f is not moved from then.
  template <class F, class... A>
  bool try_post(CallSite site, F&& f, A&&... a) {
    Reservation reservation(*this);
    if (!reservation.made()) return false;
    CallbackNode* node = new_arena_node<CallbackNode::Origin::kBoundedArena>(
        site, std::forward<F>(f), std::forward<A>(a)...);
    // The node stands for it now. Closed: nothing is queued any more, so it does not matter.
    reservation.keep();
    if (PostSampler::draw()) [[unlikely]]
      node = timed(node);
    return push(node);
  }

  // Any thread. Takes the node over; false: closed, the callable is destroyed, the node freed.
  bool push(CallbackNode* node) {
    if (running_here() && !forked()) {
      push_local(node);
      return true;
    }
    return push_remote(node);
  }

  // Any thread. Signal-safe. Leaves errno alone.
  template <class F>
  bool post_from_signal(F f) {
    using Node = TypedCallbackNode<Bound<F>>;
    static_assert(std::is_trivially_copyable_v<F>,
                  "a signal's callback has to be trivially copyable");
    static_assert(sizeof(F) <= SignalSlots::kCallableBytes,
                  "a signal's callback holds at most 32 bytes");
    GYRE_CHECK(!is_null_callable(f), "add_callback_from_signal: the callback is null");
    if (queue_.closed() || forked()) return false;
    void* slot = slots_.take();
    if (slot == nullptr) return false;
    auto* node = ::new (slot) Node(CallSite(), CallbackNode::Origin::kSignalSlot, f);
    return push_from_signal(node);
  }

  // Destroys a node that is in no queue. Any thread.
  static void discard_refused(CallbackNode* node);

  // Any thread. Signal-safe. Leaves errno alone.
  void request_stop();

  bool closed() const { return queue_.closed(); }

  // True in the thread that runs the loop.
  bool running_here() const { return running_ == this; }

  // ---- The consumer's side: the loop's thread; or the one that closes it, while nobody runs it.

  // Says which queue this thread runs (nullptr: none), and gives the previous one.
  static CallbackQueue* set_running(CallbackQueue* queue) { return std::exchange(running_, queue); }

  // Everything posted so far forms the batch, behind what is left of the last one.
  void begin_batch();
  CallbackNode* pop() {
    CallbackNode* node = batch_.first;
    if (node == nullptr) return nullptr;
    batch_.first = node->next_node();
    --queued_;
    return node;
  }
  // pop would give nullptr.
  bool batch_done() const { return batch_.first == nullptr; }
  // Gives back the memory of a node that was queued, after its callable was destroyed.
  void release(CallbackNode* node, NodeReleaser& releaser) {
    if (node->origin() == CallbackNode::Origin::kArena) [[likely]]
      return releaser.release(node);
    release_other(node, releaser);
  }

  // The callbacks of the batch that ran so far make room for others.
  void finish_batch();

  // Queued when a batch began, the last one and the largest. Any thread.
  uint64_t depth() const { return depth_.get(); }
  uint64_t max_depth() const { return max_depth_.get(); }

  // What other threads and signals have posted, and how many of these posts woke nobody: the loop
  // ran, or was woken already. Any thread.
  uint64_t posts_from_outside() const { return posts_from_outside_.get(); }
  uint64_t wakeups_saved() const { return wakeups_saved_.get(); }
  // Of the posts that were drawn, see PostSampler. Any thread.
  DurationHistogram post_latency() const { return post_latency_.snapshot(); }

  // visit(site) for each that is queued, oldest first. Consumer only.
  template <class Visit>
  void for_each(Visit&& visit) {
    if (queue_.may_have_nodes()) accept(queue_.take());
    for (const CallbackNode* first : {batch_.first, pending_.first}) {
      for (const CallbackNode* node = first; node != nullptr; node = node->next_node())
        visit(node->site());
    }
  }

  bool has_work() {
    return batch_.first != nullptr || pending_.first != nullptr || queue_.has_nodes();
  }

  // Nothing has come from other threads or signals, no stop either. One load.
  bool quiet() const { return queue_.empty_hint(); }

  // A stop was requested and not yet taken back by clear_stop.
  bool stop_requested() { return queue_.stop_requested(); }
  void clear_stop() { accept(queue_.clear_stop()); }

  // See MpscQueue. After true, finish_sleep has to follow; it says whether a producer ended the
  // sleep.
  bool prepare_to_sleep() { return queue_.prepare_to_sleep(); }
  bool finish_sleep();

  // Refuses every later post, destroys what is queued, unrun, and waits until every producer that
  // owes a wake-up has written it: after the return the waker is not touched again.
  void close();

 private:
  struct List {
    CallbackNode* first = nullptr;
    CallbackNode* last = nullptr;

    void append(CallbackNode* from, CallbackNode* to) {
      if (first == nullptr) {
        first = from;
      } else {
        last->next.set(from);
      }
      last = to;
    }
  };

  // A place under the limit: given back unless a node came to need it, as when the callable's copy
  // threw.
  class Reservation {
   public:
    explicit Reservation(CallbackQueue& queue)
        : queue_(queue),
          made_(queue.bounded_.fetch_add(1, std::memory_order_relaxed) < queue.limit_) {}
    Reservation(const Reservation&) = delete;
    Reservation& operator=(const Reservation&) = delete;
    ~Reservation() {
      if (!kept_) queue_.bounded_.fetch_sub(1, std::memory_order_relaxed);
    }

    bool made() const { return made_; }
    void keep() { kept_ = true; }

   private:
    CallbackQueue& queue_;
    const bool made_;
    bool kept_ = false;
  };

  void push_local(CallbackNode* node) {
    if (queue_.may_have_nodes()) [[unlikely]]
      accept(queue_.take());
    node->next.set(nullptr);
    pending_.append(node, node);
    ++queued_;
  }
  class TimedCall;
  CallbackNode* timed(CallbackNode* node);
  static void free_memory(CallbackNode* node);
  bool push_remote(CallbackNode* node);
  bool push_from_signal(CallbackNode* node);
  void accept(const MpscInbox<>::Batch& batch);
  void discard(CallbackNode* first);
  void release_other(CallbackNode* node, NodeReleaser& releaser);

  // A child of fork() shares the loop's kernel objects with its parent: it may not touch them.
  bool forked() const { return fork_generation_ != fork_generation(); }

  static constinit inline thread_local CallbackQueue* running_ = nullptr;

  MpscInbox<> queue_;
  alignas(64) std::atomic<size_t> bounded_{0};  // queued by try_post, and not run
  const size_t limit_;
  alignas(64) List pending_;
  List batch_;
  size_t queued_ = 0;        // in these two
  size_t bounded_done_ = 0;  // of try_post, run, and not yet taken off bounded_
  Counter depth_;
  Counter max_depth_;
  Counter posts_from_outside_;
  Counter wakeups_saved_;
  DurationRecorder post_latency_;
  // Producers read these for each post: not on a line that the consumer writes.
  alignas(64) Waker& waker_;
  const uint32_t fork_generation_;
  SignalSlots slots_;
};

}  // namespace gyre::internal

#endif  // GYRE_LOOP_CALLBACK_QUEUE_H_
