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
// A 4-ary heap whose entries carry the key, so that a comparison touches no other memory; the
// callables stay where they are, in slots that know their place in the heap. Adding and cancelling
// cost O(log n), and a cancelled callable is destroyed at once.
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
    static_assert(sizeof(Node) <= sizeof(Slot::storage));
    GYRE_CHECK(!is_null_callable(f), "the callback of a timeout is null");
    const uint32_t index = take_slot();
    struct Guard {  // gives the slot back if a constructor throws
      TimerQueue* queue;
      uint32_t index;
      ~Guard() {
        if (queue != nullptr) queue->give_slot(index);
      }
    } guard{this, index};
    ::new (slot(index).storage)
        Node(site, CallbackNode::Origin::kHeap, std::forward<F>(f), std::forward<A>(a)...);
    guard.queue = nullptr;
    return insert(deadline, index);
  }

  // Destroys the callable. False: it fired, was cancelled, or the id names nothing.
  bool cancel(TimerId id);

  // Without those that are set aside until restore().
  bool empty() const { return heap_.empty(); }
  // With them.
  size_t size() const { return heap_.size() + aside_.size(); }

  // Of the earliest timer; only if there is one.
  SteadyTime next_deadline() const { return heap_.front().deadline; }

  // What is added from now on has at least this sequence.
  uint64_t next_sequence() const { return next_sequence_; }

  // Takes the earliest timer that is due at `now` and was added before `before`, moves it out of
  // the queue and hands its node and its deadline to `run`, which runs or destroys the callable.
  // False: there is none. Timers that are due but too new are set aside until restore(), so that
  // they do not stand in the way.
  template <class Run>
  bool run_one(SteadyTime now, uint64_t before, Run&& run) {
    while (!heap_.empty() && heap_.front().deadline <= now) {
      const Entry entry = heap_.front();
      remove_at(0);
      if (entry.sequence >= before) {
        slot(entry.slot).position = kAside | static_cast<uint32_t>(aside_.size());
        aside_.push_back(entry);
        continue;
      }
      // Its id names nothing any more: the callback may cancel itself.
      Slot& due = slot(entry.slot);
      due.sequence = 0;
      struct Guard {  // the slot stays taken while the callable runs in it
        TimerQueue* queue;
        uint32_t index;
        ~Guard() { queue->give_slot(index); }
      } guard{this, entry.slot};
      run(due.node(), entry.deadline);
      return true;
    }
    return false;
  }
  void restore();

  // visit(deadline, site), in no order.
  template <class Visit>
  void for_each(Visit&& visit) const {
    for (const std::vector<Entry>* entries : {&heap_, &aside_}) {
      for (const Entry& entry : *entries) visit(entry.deadline, slot(entry.slot).node()->site());
    }
  }

  // Destroys every callable.
  void clear();

 private:
  static constexpr uint32_t kNone = UINT32_MAX;
  static constexpr uint32_t kAside = uint32_t{1} << 31;  // a position in aside_, not in the heap
  static constexpr uint32_t kSlotsPerPage = 128;

  struct Entry {
    SteadyTime deadline;
    uint64_t sequence;
    uint32_t slot;

    bool before(const Entry& other) const {
      return deadline != other.deadline ? deadline < other.deadline : sequence < other.sequence;
    }
  };

  struct Slot {
    uint64_t sequence = 0;      // 0: free, or running
    uint32_t position = kNone;  // in the heap, or in aside_
    uint32_t next_free = kNone;
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
  uint32_t take_slot();
  void give_slot(uint32_t index);
  TimerId insert(SteadyTime deadline, uint32_t index);
  void place(size_t position, const Entry& entry) {
    heap_[position] = entry;
    slot(entry.slot).position = static_cast<uint32_t>(position);
  }
  void sift_up(size_t position, const Entry& entry);
  void sift_down(size_t position, const Entry& entry);
  void remove_at(size_t position);

  std::vector<Entry> heap_;
  std::vector<Entry> aside_;
  // Pages do not move: a callable runs in its slot while others are added.
  std::vector<std::unique_ptr<Slot[]>> pages_;
  uint32_t free_slot_ = kNone;
  uint64_t next_sequence_;
};

// A range of sequences for each loop: a handle that is given to the wrong loop names nothing there.
uint64_t first_timer_sequence();

}  // namespace gyre::internal

#endif  // GYRE_LOOP_TIMER_QUEUE_H_
