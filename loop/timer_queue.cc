#include "gyre/loop/timer_queue.h"

#include <algorithm>
#include <atomic>
#include <utility>

#include "gyre/loop/cpu_hints.h"

namespace gyre::internal {

uint64_t first_timer_sequence() {
  // 2^48 timers for each of 2^16 loops, before a number comes again.
  static constinit std::atomic<uint16_t> next_loop{0};
  return (static_cast<uint64_t>(next_loop.fetch_add(1, std::memory_order_relaxed)) << 48) + 1;
}

uint32_t TimerQueue::take_slot() {
  if (vacated_ != kNone) return std::exchange(vacated_, kNone);
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
  positions_[index] = kNotInHeap;
  return index;
}

void TimerQueue::give_slot(uint32_t index) {
  sequences_[index] = 0;
  positions_[index] = free_slot_;
  free_slot_ = index;
}

TimerId TimerQueue::insert(SteadyTime deadline, uint32_t index, bool trivial) {
  const uint64_t sequence = next_sequence_++;
  sequences_[index] = sequence;
  ++in_heap_;
  const Entry entry{deadline, index, trivial};
  if (positions_[index] == kNotInHeap) {
    heap_.emplace_back();
    sift_up(heap_.size() - 1, entry);
  } else {
    sift(positions_[index], entry);  // in the place of the one that had the slot
  }
  return {sequence, index};
}

bool TimerQueue::cancel(TimerId id) {
  if (id.sequence == 0 || id.slot >= sequences_.size()) return false;
  prefetch_for_writing(slot(id.slot).storage);
  if (sequences_[id.slot] != id.sequence) return false;
  // Consistent before the destructor, which is user code and may use the queue.
  sequences_[id.slot] = 0;
  if (positions_[id.slot] == kNotInHeap) {
    --due_left_;
    slot(id.slot).node()->destroy();
    return true;
  }
  drop_vacated();
  --in_heap_;
  const uint32_t position = positions_[id.slot];
  const bool trivial = heap_[position].trivial;
  if (position == 0) {
    remove_at(0);
    positions_[id.slot] = kNotInHeap;
  }
  if (!trivial) slot(id.slot).node()->destroy();
  leave_slot(id.slot);
  return true;
}

// After user code, a constructor or a destructor, which may have used the queue. A place in the
// heap is left to the next that is added, unless it is the first, or another one was left
// meanwhile.
void TimerQueue::leave_slot(uint32_t index) {
  const uint32_t position = positions_[index];
  if (position != kNotInHeap && position > 0 && vacated_ == kNone) {
    vacated_ = index;
    return;
  }
  if (position != kNotInHeap) remove_at(position);
  give_slot(index);
}

void TimerQueue::drop_vacated() {
  if (vacated_ == kNone) return;
  const uint32_t index = std::exchange(vacated_, kNone);
  remove_at(positions_[index]);
  give_slot(index);
}

void TimerQueue::clear() {
  // One by one: a destructor may cancel another timer, or add one.
  while (!empty()) {
    drop_vacated();
    const uint32_t index = find_due() ? due_[next_due_].slot : heap_.back().slot;
    cancel({sequences_[index], index});
  }
}

void TimerQueue::begin_batch(SteadyTime now, uint64_t before) {
  if (heap_.empty() || heap_.front().deadline > now) return;
  drop_vacated();
  find_due();
  // Once most of it has gone: each entry is moved O(1) times.
  if (next_due_ > due_.size() / 2) {
    due_.erase(due_.begin(), due_.begin() + static_cast<ptrdiff_t>(next_due_));
    sorted_ -= next_due_;
    for (size_t& end : segments_) end -= next_due_;
    next_due_ = 0;
  }
  if (heap_.front().deadline < batch_end_) {  // was due already when it was added: all over again
    sorted_ = next_due_;
    segments_.clear();
  }
  batch_end_ = std::max(batch_end_, now);
  const bool all_new = next_due_ == due_.size();
  if (pop_due(now, before) && all_new) sorted_ = due_.size();
}

// Moves what is due from the heap to the end of the batch. False: not in order.
bool TimerQueue::pop_due(SteadyTime now, uint64_t before) {
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
  bool looked = false, in_order = true;
  for (size_t popped = 0; !heap_.empty() && heap_.front().deadline <= now;) {
    // A look at all of the heap costs as much as popping a few thousandths of it did.
    if (!looked && heap_.size() >= sort_from_ && popped >= heap_.size() / 256) {
      looked = true;
      in_order = !take_many_due(now, before);
      continue;
    }
    const Entry first = heap_.front();
    if (sequences_[first.slot] >= before) {
      too_new_.push_back(first);
    } else {
      append_to_batch(first);
      ++popped;
    }
    remove_at(0);
  }
  return in_order;
}

void TimerQueue::append_to_batch(const Entry& entry) {
  due_.push_back(entry);
  positions_[entry.slot] = kNotInHeap;
  --in_heap_;
  ++due_left_;
}

// Moves all that are due at once, if they are a good part of the heap. False: they are not.
bool TimerQueue::take_many_due(SteadyTime now, uint64_t before) {
  const auto is_due = [&](const Entry& entry) {
    return entry.deadline <= now && sequences_[entry.slot] < before;
  };
  const auto count = static_cast<size_t>(std::count_if(heap_.begin(), heap_.end(), is_due));
  if (count < heap_.size() / 8) return false;
  due_.reserve(due_.size() + count);
  size_t kept = 0;
  for (const Entry& entry : heap_) {
    if (is_due(entry)) {
      append_to_batch(entry);
    } else {
      place(kept++, entry);
    }
  }
  heap_.resize(kept);
  // Floyd: from the last parent to the first.
  for (size_t i = (kept + 2) / 4; i-- > 0;) sift_down(i, Entry(heap_[i]));
  return true;
}

// Has the next one be the earliest of the batch. False: it is over.
bool TimerQueue::find_due() {
  do {
    for (; next_due_ < sorted_; ++next_due_) {
      if (sequences_[due_[next_due_].slot] != 0) return true;
      give_slot(due_[next_due_].slot);  // it was cancelled
    }
  } while (sort_piece());
  due_.clear();
  next_due_ = sorted_ = 0;
  batch_end_ = SteadyTime::min();
  return false;
}

// Puts the next piece of the batch in order. False: all are.
bool TimerQueue::sort_piece() {
  while (!segments_.empty() && segments_.back() == sorted_) segments_.pop_back();
  const auto is_before = [this](const Entry& a, const Entry& b) { return before(a, b); };
  const auto at = [this](size_t index) { return due_.begin() + static_cast<ptrdiff_t>(index); };
  size_t end = segments_.empty() ? due_.size() : segments_.back();
  if (sorted_ == end) return false;
  while (end - sorted_ > kPiece) {
    const size_t middle = sorted_ + (end - sorted_) / 4;
    std::nth_element(at(sorted_), at(middle), at(end), is_before);
    segments_.push_back(middle);
    end = middle;
  }
  std::sort(at(sorted_), at(end), is_before);
  sorted_ = end;
  return true;
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

// Where the place at `position` is free for it.
void TimerQueue::sift(size_t position, const Entry& entry) {
  if (position > 0 && before(entry, heap_[(position - 1) / 4])) {
    sift_up(position, entry);
  } else {
    sift_down(position, entry);
  }
}

void TimerQueue::remove_at(size_t position) {
  const Entry last = heap_.back();
  heap_.pop_back();
  if (position < heap_.size()) sift(position, last);
}

}  // namespace gyre::internal
