#ifndef GYRE_LOOP_TIMER_QUEUE_H_
#define GYRE_LOOP_TIMER_QUEUE_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>
#include <vector>

#include "gyre/loop/callback_node.h"
#include "gyre/loop/clock.h"

namespace gyre::internal {

// Names one timer for ever: `sequence` is never used again.
struct TimerId {
  uint64_t sequence = 0;  // 0: names nothing
  uint32_t slot = 0;
};

// Deadlines in, due callbacks out, by (deadline, insertion). No fd, no thread, no clock: pure data.
//
// A 4-ary heap whose entries carry the deadline, so that a comparison touches no other memory. The
// callables stay where they are, in slots; what says where a slot is in the heap lies in arrays of
// its own, which are small enough to stay in a cache that 100,000 slots would not fit into. Adding
// and cancelling cost O(log n), and a cancelled callable is destroyed at once. Its place in the
// heap is left to the next timer that is added: that a timer is put off is one way through the
// heap.
//
// What is due leaves the heap before the first of it is run: the batch. Where that is a good part
// of a heap too large for the caches, it is sorted instead of popped, piece by piece as its turn
// comes (incremental quicksort: Paredes and Navarro, "Optimal Incremental Sorting", 2006), so that
// the first does not wait for the order of the last.
class TimerQueue {
 public:
  // `first_sequence`: starts the count of insertions, not 0. Two queues that start far apart never
  // take each other's ids for their own.
  // `sort_from`: with how many timers it looks whether sorting those that are due pays off.
  explicit TimerQueue(uint64_t first_sequence = 1, size_t sort_from = kSortFrom)
      : next_sequence_(first_sequence), sort_from_(sort_from) {}
  TimerQueue(const TimerQueue&) = delete;
  TimerQueue& operator=(const TimerQueue&) = delete;
  ~TimerQueue() { clear(); }

  template <class F, class... A>
  TimerId add(SteadyTime deadline, CallSite site, F&& f, A&&... a) {
    using Node = CallbackNodeFor<F, A...>;
    static_assert(sizeof(Node) <= sizeof(Slot::storage));
    GYRE_CHECK(!is_null_callable(f), "the callback of a timeout is null");
    const uint32_t index = take_slot();
    struct Guard {  // gives the slot back if a constructor throws
      TimerQueue* queue;
      uint32_t index;
      ~Guard() {
        if (queue != nullptr) queue->leave_slot(index);
      }
    } guard{this, index};
    ::new (slot(index).storage)
        Node(site, CallbackNode::Origin::kHeap, std::forward<F>(f), std::forward<A>(a)...);
    guard.queue = nullptr;
    return insert(deadline, index, std::is_trivially_destructible_v<decltype(Node::callable)>);
  }

  // Destroys the callable. False: it fired, was cancelled, or the id names nothing.
  bool cancel(TimerId id);

  bool empty() const { return size() == 0; }
  size_t size() const { return in_heap_ + due_left_; }

  // Of the earliest timer; only if there is one. Of a batch that was not run to its end: a time
  // that is over, too.
  SteadyTime next_deadline() const {
    if (due_left_ == 0) return heap_.front().deadline;
    const SteadyTime due = due_[next_due_].deadline;
    return heap_.empty() ? due : std::min(due, heap_.front().deadline);
  }

  // What is added from now on has at least this sequence.
  uint64_t next_sequence() const { return next_sequence_; }

  // Begins a batch: those that are due at `now` and were added before `before`, and what an earlier
  // batch left. A timer that is added later is not in it, however early its deadline is.
  void begin_batch(SteadyTime now, uint64_t before);

  // Takes the earliest timer of the batch out of the queue and hands its node and its deadline to
  // `run`, which runs or destroys the callable. False: none is left.
  template <class Run>
  bool run_one(Run&& run) {
    if (!find_due()) return false;
    const Entry entry = due_[next_due_++];
    if (next_due_ + kFetchAhead < sorted_) {
      __builtin_prefetch(slot(due_[next_due_ + kFetchAhead].slot).storage);
    }
    --due_left_;
    // Its id names nothing any more: the callback may cancel itself.
    sequences_[entry.slot] = 0;
    struct Guard {  // the slot stays taken while the callable runs in it
      TimerQueue* queue;
      uint32_t index;
      ~Guard() { queue->give_slot(index); }
    } guard{this, entry.slot};
    run(slot(entry.slot).node(), entry.deadline);
    return true;
  }

  // visit(deadline, site), in no order.
  template <class Visit>
  void for_each(Visit&& visit) const {
    const auto visit_all = [&](auto begin, auto end) {
      for (; begin != end; ++begin) {
        if (sequences_[begin->slot] != 0) visit(begin->deadline, slot(begin->slot).node()->site());
      }
    };
    visit_all(heap_.begin(), heap_.end());
    visit_all(due_.begin() + static_cast<ptrdiff_t>(next_due_), due_.end());
  }

  // Destroys every callable.
  void clear();

 private:
  static constexpr uint32_t kNone = UINT32_MAX;
  static constexpr uint32_t kNotInHeap = UINT32_MAX;  // a position: in the batch, or nowhere yet
  static constexpr uint32_t kSlotsPerPage = 128;
  static constexpr size_t kSortFrom = 32768;  // with fewer, popping is the faster way
  static constexpr size_t kPiece = 4096;      // sorted at a time: a tenth of a millisecond
  static constexpr size_t kFetchAhead = 8;    // about the time that memory takes

  struct Entry {
    SteadyTime deadline;
    uint32_t slot;
    // The callable has no destructor: a cancel does not look at it, nor wait for its memory.
    bool trivial;
  };

  struct Slot {
    alignas(16) unsigned char storage[80];

    CallbackNode* node() { return std::launder(reinterpret_cast<CallbackNode*>(storage)); }
    const CallbackNode* node() const {
      return std::launder(reinterpret_cast<const CallbackNode*>(storage));
    }
  };

  Slot& slot(uint32_t index) { return pages_[index / kSlotsPerPage][index % kSlotsPerPage]; }
  const Slot& slot(uint32_t index) const {
    return pages_[index / kSlotsPerPage][index % kSlotsPerPage];
  }
  bool before(const Entry& a, const Entry& b) const {
    if (a.deadline != b.deadline) return a.deadline < b.deadline;
    return sequences_[a.slot] < sequences_[b.slot];
  }
  uint32_t take_slot();
  void give_slot(uint32_t index);
  TimerId insert(SteadyTime deadline, uint32_t index, bool trivial);
  void place(size_t position, const Entry& entry) {
    heap_[position] = entry;
    positions_[entry.slot] = static_cast<uint32_t>(position);
  }
  void sift_up(size_t position, const Entry& entry);
  void sift_down(size_t position, const Entry& entry);
  void sift(size_t position, const Entry& entry);
  void remove_at(size_t position);
  void leave_slot(uint32_t index);
  void drop_vacated();
  bool pop_due(SteadyTime now, uint64_t before);
  bool take_many_due(SteadyTime now, uint64_t before);
  void append_to_batch(const Entry& entry);
  bool find_due();
  bool sort_piece();

  std::vector<Entry> heap_;
  // The batch: from next_due_ on, in order up to sorted_. The rest is cut at segments_, of which
  // the first is the last there: what lies behind a cut is later than what lies before it. A timer
  // that was cancelled is passed over in its turn, and keeps its slot until then. due_left_ are not
  // cancelled.
  std::vector<Entry> due_;
  size_t next_due_ = 0;
  size_t sorted_ = 0;
  std::vector<size_t> segments_;
  size_t due_left_ = 0;
  SteadyTime batch_end_ = SteadyTime::min();  // nothing in the batch is later
  std::vector<Entry> too_new_;                // only within begin_batch()
  // Of each slot: its timer's sequence (0: free, cancelled, or running); and where that is in
  // heap_, kNotInHeap, or the next free slot.
  std::vector<uint64_t> sequences_;
  std::vector<uint32_t> positions_;
  // Pages do not move: a callable runs in its slot while others are added.
  std::vector<std::unique_ptr<Slot[]>> pages_;
  uint32_t free_slot_ = kNone;
  // The slot of the timer that was cancelled last, if its entry is still in the heap: never as the
  // first, and gone before anything else leaves the heap.
  uint32_t vacated_ = kNone;
  size_t in_heap_ = 0;  // without those that were cancelled
  uint64_t next_sequence_;
  const size_t sort_from_;
};

// A range of sequences for each loop: a handle that is given to the wrong loop names nothing there.
uint64_t first_timer_sequence();

}  // namespace gyre::internal

#endif  // GYRE_LOOP_TIMER_QUEUE_H_
