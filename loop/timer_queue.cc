#include "gyre/loop/timer_queue.h"

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
    pages_.push_back(std::make_unique<Slot[]>(kSlotsPerPage));
    for (uint32_t i = kSlotsPerPage; i-- > 0;) give_slot(first + i);
  }
  const uint32_t index = free_slot_;
  free_slot_ = slot(index).next_free;
  return index;
}

void TimerQueue::give_slot(uint32_t index) {
  Slot& free = slot(index);
  free.sequence = 0;
  free.position = kNone;
  free.next_free = free_slot_;
  free_slot_ = index;
}

TimerId TimerQueue::insert(SteadyTime deadline, uint32_t index) {
  const Entry entry{deadline, next_sequence_++, index};
  slot(index).sequence = entry.sequence;
  heap_.emplace_back();
  sift_up(heap_.size() - 1, entry);
  return {entry.sequence, index};
}

bool TimerQueue::cancel(TimerId id) {
  if (id.sequence == 0 || id.slot / kSlotsPerPage >= pages_.size()) return false;
  Slot& cancelled = slot(id.slot);
  if (cancelled.sequence != id.sequence) return false;
  if (cancelled.position & kAside) {
    // Their order does not matter: restore() puts them back into the heap.
    const uint32_t index = cancelled.position & ~kAside;
    aside_[index] = aside_.back();
    slot(aside_[index].slot).position = kAside | index;
    aside_.pop_back();
  } else {
    remove_at(cancelled.position);
  }
  // Consistent before the destructor, which is user code and may use the queue.
  cancelled.sequence = 0;
  cancelled.node()->destroy();
  give_slot(id.slot);
  return true;
}

void TimerQueue::restore() {
  for (const Entry& entry : aside_) {
    heap_.emplace_back();
    sift_up(heap_.size() - 1, entry);
  }
  aside_.clear();
}

void TimerQueue::clear() {
  // One by one: a destructor may cancel another timer.
  restore();
  while (!heap_.empty()) cancel({heap_.back().sequence, heap_.back().slot});
}

void TimerQueue::sift_up(size_t position, const Entry& entry) {
  while (position > 0) {
    const size_t parent = (position - 1) / 4;
    if (!entry.before(heap_[parent])) break;
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
      if (heap_[child].before(heap_[least])) least = child;
    }
    if (!heap_[least].before(entry)) break;
    place(position, heap_[least]);
    position = least;
  }
  place(position, entry);
}

void TimerQueue::remove_at(size_t position) {
  const Entry last = heap_.back();
  heap_.pop_back();
  if (position == heap_.size()) return;
  if (position > 0 && last.before(heap_[(position - 1) / 4])) {
    sift_up(position, last);
  } else {
    sift_down(position, last);
  }
}

}  // namespace gyre::internal
