#ifndef GYRE_LOOP_TIMER_QUEUE_H_
#define GYRE_LOOP_TIMER_QUEUE_H_

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
//     heap_     (deadline, sequence, slot): the order; its top is a timer that is waiting
//     records_  by slot: which timer has it now, in an array that is dense enough to stay cached
//     pages_    by slot: the callable, which stays where it is
//
// A 4-ary heap whose entries carry the key, so that a comparison touches no other memory, and that
// nothing points into, so that to move an entry is to write it. A timer that is cancelled therefore
// leaves its entry behind: it is dropped when it comes to the top, or when such entries outnumber
// the others and the heap is made anew. Adding costs O(1) for most orders and O(log n) at the
// worst, cancelling O(1) over time; a cancelled callable is destroyed at once.
class TimerQueue {
 public:
  // `first_sequence`: starts the count of insertions, not 0. Two queues that start far apart never
  // take each other's ids for their own.
  explicit TimerQueue(uint64_t first_sequence = 1) : next_sequence_(first_sequence) {}
  TimerQueue(const TimerQueue&) = delete;
  TimerQueue& operator=(const TimerQueue&) = delete;
  ~TimerQueue() { clear(); }

  template <class F, class... A>
  TimerId add(SteadyTime deadline, CallSite site, F&& f, A&&... a) {
    using Node = CallbackNodeFor<F, A...>;
    static_assert(sizeof(Node) <= sizeof(Storage));
    GYRE_CHECK(!is_null_callable(f), "the callback of a timeout is null");
    const uint32_t index = take_slot();
    struct Guard {  // gives the slot back if a constructor throws
      TimerQueue* queue;
      uint32_t index;
      ~Guard() {
        if (queue != nullptr) queue->give_slot(index);
      }
    } guard{this, index};
    ::new (storage(index).bytes)
        Node(site, CallbackNode::Origin::kHeap, std::forward<F>(f), std::forward<A>(a)...);
    guard.queue = nullptr;
    records_[index].trivial = Node::kTriviallyDestroyed;
    return insert(deadline, index);
  }

  // Destroys the callable. False: it fired, was cancelled, or the id names nothing.
  bool cancel(TimerId id);

  bool empty() const { return waiting_ == 0; }
  size_t size() const { return waiting_; }
  // In the heap, those that cancelled timers left behind among them: at most as many as the others,
  // and a few.
  size_t entries() const { return heap_.size(); }

  // Of the earliest timer; only if there is one.
  SteadyTime next_deadline() const { return heap_.front().deadline; }

  // What is added from now on has at least this sequence.
  uint64_t next_sequence() const { return next_sequence_; }

  // Takes the earliest timer that is due at `now` and was added before `before`, moves it out of
  // the queue and hands its node to `run`, which runs or destroys the callable. False: there is
  // none. Timers that are due but too new are set aside until restore(), so that they do not stand
  // in the way.
  template <class Run>
  bool run_one(SteadyTime now, uint64_t before, Run&& run) {
    while (!heap_.empty() && heap_.front().deadline <= now) {
      const Entry entry = heap_.front();
      remove_top();
      if (entry.sequence >= before) {
        aside_.push_back(entry);
        continue;
      }
      // Its id names nothing any more: the callback may cancel itself.
      records_[entry.slot].sequence = 0;
      --waiting_;
      struct Guard {  // the slot stays taken while the callable runs in it
        TimerQueue* queue;
        uint32_t index;
        ~Guard() { queue->give_slot(index); }
      } guard{this, entry.slot};
      run(storage(entry.slot).node());
      return true;
    }
    return false;
  }
  void restore();

  // Destroys every callable.
  void clear();

 private:
  static constexpr uint32_t kNone = UINT32_MAX;
  static constexpr uint32_t kSlotsPerPage = 128;
  // Entries of cancelled timers that are not worth the making of a heap.
  static constexpr size_t kFewStale = 64;

  struct Entry {
    SteadyTime deadline;
    uint64_t sequence;
    uint32_t slot;

    bool before(const Entry& other) const {
      return deadline != other.deadline ? deadline < other.deadline : sequence < other.sequence;
    }
  };

  struct Record {
    uint64_t sequence = 0;  // of the timer that waits here; 0: free, or running
    uint32_t next_free = kNone;
    bool trivial = false;  // nothing is to be done to destroy the callable
  };

  struct Storage {
    alignas(16) unsigned char bytes[80];

    CallbackNode* node() { return std::launder(reinterpret_cast<CallbackNode*>(bytes)); }
  };

  Storage& storage(uint32_t slot) { return pages_[slot / kSlotsPerPage][slot % kSlotsPerPage]; }
  bool waiting(const Entry& entry) const { return records_[entry.slot].sequence == entry.sequence; }
  void add_page();
  uint32_t take_slot();
  void give_slot(uint32_t index);
  TimerId insert(SteadyTime deadline, uint32_t index);
  void sift_up(size_t position, const Entry& entry);
  void sift_down(size_t position, const Entry& entry);
  void remove_top();
  void drop_stale_top();
  void prefetch_next();
  void drop_all_stale();

  std::vector<Entry> heap_;
  std::vector<Entry> aside_;
  std::vector<Record> records_;
  // Pages do not move: a callable runs in its slot while others are added.
  std::vector<std::unique_ptr<Storage[]>> pages_;
  size_t waiting_ = 0;
  size_t stale_ = 0;  // entries of cancelled timers, in heap_ and aside_
  uint32_t free_slot_ = kNone;
  uint64_t next_sequence_;
};

// A range of sequences for each loop: a handle that is given to the wrong loop names nothing there.
uint64_t first_timer_sequence();

}  // namespace gyre::internal

#endif  // GYRE_LOOP_TIMER_QUEUE_H_
