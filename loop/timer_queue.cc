#include "gyre/loop/timer_queue.h"

#include <algorithm>
#include <atomic>

namespace gyre::internal {

uint64_t first_timer_sequence() {
  // 2^48 timers for each of 2^16 loops, before a number comes again.
  static constinit std::atomic<uint16_t> next_loop{0};
  return (static_cast<uint64_t>(next_loop.fetch_add(1, std::memory_order_relaxed)) << 48) + 1;
}

void TimerQueue::add_page() {
  const size_t first = records_.size();
  if (records_.capacity() < first + kSlotsPerPage) records_.reserve(first * 2 + kSlotsPerPage);
  pages_.push_back(std::make_unique_for_overwrite<Storage[]>(kSlotsPerPage));
  records_.resize(first + kSlotsPerPage);  // cannot fail: there is room
  for (size_t i = kSlotsPerPage; i-- > 0;) give_slot(static_cast<uint32_t>(first + i));
}

uint32_t TimerQueue::take_slot() {
  // Room in the heap first: once a callable sits in its slot nothing may fail.
  if (heap_.size() == heap_.capacity()) heap_.reserve(heap_.size() < 64 ? 64 : heap_.size() * 2);
  if (free_slot_ == kNone) add_page();
  return std::exchange(free_slot_, records_[free_slot_].next_free);
}

void TimerQueue::give_slot(uint32_t index) {
  records_[index].sequence = 0;
  records_[index].next_free = std::exchange(free_slot_, index);
}

TimerId TimerQueue::insert(SteadyTime deadline, uint32_t index) {
  const Entry entry{deadline, next_sequence_++, index};
  records_[index].sequence = entry.sequence;
  ++waiting_;
  heap_.emplace_back();
  sift_up(heap_.size() - 1, entry);
  return {entry.sequence, index};
}

bool TimerQueue::cancel(TimerId id) {
  if (id.sequence == 0 || id.slot >= records_.size()) return false;
  if (records_[id.slot].sequence != id.sequence) return false;
  records_[id.slot].sequence = 0;
  --waiting_;
  ++stale_;
  if (!heap_.empty() && heap_.front().sequence == id.sequence) {
    drop_stale_top();
  } else if (aside_.empty() && stale_ > waiting_ + kFewStale) {
    drop_all_stale();
  }
  // Consistent before the destructor, which is user code and may use the queue.
  if (!records_[id.slot].trivial) storage(id.slot).node()->destroy();
  give_slot(id.slot);
  return true;
}

void TimerQueue::restore() {
  for (const Entry& entry : aside_) {
    if (waiting(entry)) {
      heap_.emplace_back();
      sift_up(heap_.size() - 1, entry);
    } else {
      --stale_;
    }
  }
  aside_.clear();
}

void TimerQueue::clear() {
  restore();
  // One by one: a destructor may cancel another timer, or add one.
  for (uint32_t slot = 0; waiting_ > 0; slot = slot + 1 < records_.size() ? slot + 1 : 0) {
    cancel({records_[slot].sequence, slot});
  }
}

void TimerQueue::sift_up(size_t position, const Entry& entry) {
  while (position > 0) {
    const size_t parent = (position - 1) / 4;
    if (!entry.before(heap_[parent])) break;
    heap_[position] = heap_[parent];
    position = parent;
  }
  heap_[position] = entry;
}

void TimerQueue::sift_down(size_t position, const Entry& entry) {
  const size_t size = heap_.size();
  for (;;) {
    const size_t first = position * 4 + 1;
    if (first >= size) break;
    size_t least = first;
    for (size_t child = first + 1; child < first + 4 && child < size; ++child) {
      if (heap_[child].before(heap_[least])) least = child;
    }
    if (!heap_[least].before(entry)) break;
    heap_[position] = heap_[least];
    position = least;
  }
  heap_[position] = entry;
}

void TimerQueue::remove_top() {
  const Entry last = heap_.back();
  heap_.pop_back();
  if (!heap_.empty()) sift_down(0, last);
  prefetch_next();
  drop_stale_top();
}

// The next top is one of these four; they come from memory while others run.
void TimerQueue::prefetch_next() {
  const size_t end = std::min<size_t>(heap_.size(), 5);
  for (size_t i = 1; i < end; ++i) {
    __builtin_prefetch(&records_[heap_[i].slot]);
    __builtin_prefetch(&storage(heap_[i].slot));
  }
}

void TimerQueue::drop_stale_top() {
  while (!heap_.empty() && !waiting(heap_.front())) {
    --stale_;
    const Entry last = heap_.back();
    heap_.pop_back();
    if (!heap_.empty()) sift_down(0, last);
  }
}

void TimerQueue::drop_all_stale() {
  stale_ -= std::erase_if(heap_, [this](const Entry& entry) { return !waiting(entry); });
  if (heap_.size() < 2) return;
  for (size_t i = (heap_.size() - 2) / 4 + 1; i-- > 0;) sift_down(i, Entry(heap_[i]));
}

}  // namespace gyre::internal
