#include "gyre/loop/timer_queue.h"

#include <algorithm>
#include <atomic>

namespace gyre::internal {

uint64_t first_timer_sequence() {
  // 2^48 timers for each of 2^16 loops, before a number comes again.
  static constinit std::atomic<uint16_t> next_loop{0};
  return (static_cast<uint64_t>(next_loop.fetch_add(1, std::memory_order_relaxed)) << 48) + 1;
}

uint32_t TimerQueue::take_slot() {
  // Room in the heap first: once a callable sits in its slot nothing may fail.
  if (heap_.size() == heap_.capacity()) heap_.reserve(heap_.size() < 64 ? 64 : heap_.size() * 2);
  if (free_slot_ == kNone) {
    const auto first = static_cast<uint32_t>(pages_.size() * kSlotsPerPage);
    sequences_.resize(first + kSlotsPerPage);
    positions_.resize(first + kSlotsPerPage);
    pages_.emplace_back(new Slot[kSlotsPerPage]);  // make_unique would fill it
    for (uint32_t i = kSlotsPerPage; i-- > 0;) give_slot(first + i);
  }
  const uint32_t index = free_slot_;
  free_slot_ = positions_[index];
  return index;
}

void TimerQueue::give_slot(uint32_t index) {
  sequences_[index] = 0;
  positions_[index] = free_slot_;
  free_slot_ = index;
}

TimerId TimerQueue::insert(SteadyTime deadline, uint32_t index) {
  const uint64_t sequence = next_sequence_++;
  sequences_[index] = sequence;
  heap_.emplace_back();
  sift_up(heap_.size() - 1, {deadline, index});
  return {sequence, index};
}

bool TimerQueue::cancel(TimerId id) {
  if (id.sequence == 0 || id.slot >= sequences_.size()) return false;
  if (sequences_[id.slot] != id.sequence) return false;
  const uint32_t position = positions_[id.slot];
  if (position & kInBatch) {
    leave_batch(position & ~kInBatch);
  } else {
    remove_at(position);
  }
  // Consistent before the destructor, which is user code and may use the queue.
  sequences_[id.slot] = 0;
  slot(id.slot).node()->destroy();
  give_slot(id.slot);
  return true;
}

void TimerQueue::clear() {
  // One by one: a destructor may cancel another timer.
  while (!empty()) {
    const uint32_t index = due_left_ > 0 ? due_[next_due_].slot : heap_.back().slot;
    cancel({sequences_[index], index});
  }
}

void TimerQueue::begin_batch(SteadyTime now, uint64_t before) {
  if (heap_.empty() || heap_.front().deadline > now) return;
  if (due_.size() > 2 * due_left_) tidy_batch();
  const size_t left = due_.size();
  struct Guard {
    TimerQueue* queue;
    ~Guard() {
      for (const Entry& entry : queue->too_new_) {
        queue->heap_.emplace_back();
        queue->sift_up(queue->heap_.size() - 1, entry);
      }
      queue->too_new_.clear();
    }
  } restore_too_new{this};
  const size_t live = due_left_;
  pop_due(now, before);
  // What an earlier batch left is nearly always due before what came since.
  if (left > 0 && left < due_.size() && due_[left - 1].deadline >= due_[left].deadline) {
    merge_batch(live);
  }
}

void TimerQueue::pop_due(SteadyTime now, uint64_t before) {
  constexpr size_t kFew = 32;
  size_t popped = 0;
  bool looked = false;
  while (!heap_.empty() && heap_.front().deadline <= now) {
    // A look at all of the heap costs a tenth of what popping a 64th of it did.
    if (!looked && popped >= kFew && popped >= heap_.size() / 64) {
      looked = true;
      take_many_due(now, before);
      continue;
    }
    const Entry entry = heap_.front();
    if (sequences_[entry.slot] >= before) {
      too_new_.push_back(entry);
      remove_at(0);
      continue;
    }
    due_.push_back(entry);
    remove_at(0);
    positions_[entry.slot] = kInBatch | static_cast<uint32_t>(due_.size() - 1);
    ++due_left_;
    ++popped;
  }
}

// All that are due at once, if they are a good part of the heap; else none.
void TimerQueue::take_many_due(SteadyTime now, uint64_t before) {
  const auto is_due = [&](const Entry& entry) {
    return entry.deadline <= now && sequences_[entry.slot] < before;
  };
  const auto count = static_cast<size_t>(std::count_if(heap_.begin(), heap_.end(), is_due));
  if (count < heap_.size() / 8) return;
  const size_t first = due_.size();
  due_.reserve(first + count);
  size_t kept = 0;
  for (const Entry& entry : heap_) {
    if (is_due(entry)) {
      due_.push_back(entry);
    } else {
      place(kept++, entry);
    }
  }
  heap_.resize(kept);
  for (size_t i = kept / 4 + 1; i-- > 0;) {  // Floyd: from the last parent to the first
    if (i < kept) sift_down(i, Entry(heap_[i]));
  }
  std::sort(due_.begin() + static_cast<ptrdiff_t>(first), due_.end(),
            [this](const Entry& a, const Entry& b) { return this->before(a, b); });
  renumber_batch(first);
  due_left_ += count;
}

// The first `left` of those that are in the batch are in order, and so is the rest.
void TimerQueue::merge_batch(size_t left) {
  tidy_batch();
  std::inplace_merge(due_.begin(), due_.begin() + static_cast<ptrdiff_t>(left), due_.end(),
                     [this](const Entry& a, const Entry& b) { return this->before(a, b); });
  renumber_batch(0);
}

// Drops what has left the batch.
void TimerQueue::tidy_batch() {
  std::erase_if(due_, [](const Entry& entry) { return entry.slot == kNone; });
  next_due_ = 0;
  renumber_batch(0);
}

void TimerQueue::renumber_batch(size_t first) {
  for (size_t i = first; i < due_.size(); ++i) {
    positions_[due_[i].slot] = kInBatch | static_cast<uint32_t>(i);
  }
}

void TimerQueue::leave_batch(size_t index) {
  due_[index].slot = kNone;
  if (--due_left_ == 0) {
    due_.clear();
    next_due_ = 0;
    return;
  }
  while (due_[next_due_].slot == kNone) ++next_due_;
}

void TimerQueue::sift_up(size_t position, const Entry& entry) {
  while (position > 0) {
    const size_t parent = (position - 1) / 4;
    if (!before(entry, heap_[parent])) break;
    place(position, heap_[parent]);
    position = parent;
  }
  place(position, entry);
}

void TimerQueue::sift_down(size_t position, const Entry& entry) {
  const size_t size = heap_.size();
  for (;;) {
    const size_t first = position * 4 + 1;
    if (first >= size) break;
    size_t least = first;
    for (size_t child = first + 1; child < first + 4 && child < size; ++child) {
      if (before(heap_[child], heap_[least])) least = child;
    }
    if (!before(heap_[least], entry)) break;
    place(position, heap_[least]);
    position = least;
  }
  place(position, entry);
}

void TimerQueue::remove_at(size_t position) {
  const Entry last = heap_.back();
  heap_.pop_back();
  if (position == heap_.size()) return;
  if (position > 0 && before(last, heap_[(position - 1) / 4])) {
    sift_up(position, last);
  } else {
    sift_down(position, last);
  }
}

}  // namespace gyre::internal
