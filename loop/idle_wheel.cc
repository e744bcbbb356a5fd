#include "gyre/loop/idle_wheel.h"

#include <algorithm>
#include <bit>

namespace gyre::internal {

IdleWheel::Slot::Slot() { previous_ = next_ = this; }

bool IdleWheel::Slot::empty() const { return next_ == this; }

IdleEntry& IdleWheel::Slot::front() { return *next_; }

void IdleWheel::Slot::push_back(IdleEntry& entry) {
  entry.previous_ = previous_;
  entry.next_ = this;
  previous_->next_ = &entry;
  previous_ = &entry;
}

IdleWheel::IdleWheel(SteadyTime now) : epoch_(now) {}

void IdleWheel::clear() {
  for (Slot& slot : slots_) {
    while (!slot.empty()) slot.front().unlink();
  }
  while (!expired_.empty()) expired_.front().unlink();
  size_ = 0;
}

uint32_t IdleWheel::tick_of(SteadyTime time) const {
  if (time < epoch_) return 0;
  return static_cast<uint32_t>((time - epoch_).count() >> kTickShift);
}

void IdleWheel::insert(IdleEntry& entry, uint32_t due) {
  // What lies beyond the horizon is looked at there.
  const uint32_t tick = std::clamp(due, swept_ + 1, swept_ + kSlots - 1);
  const uint32_t slot = tick % kSlots;
  slots_[slot].push_back(entry);
  occupied_[slot / 64] |= uint64_t{1} << (slot % 64);
}

void IdleWheel::arm(IdleEntry& entry, std::chrono::nanoseconds timeout, SteadyTime now) {
  disarm(entry);
  const uint32_t tick = tick_of(now);
  if (size_ == 0) swept_ = tick;  // there was nothing to look at
  const int64_t ticks = (std::max<int64_t>(timeout.count(), 1) - 1) >> kTickShift;
  // One to round up, and one because it is not known when in its tick the entry is touched.
  entry.timeout_ = static_cast<uint32_t>(std::min<int64_t>(ticks, INT32_MAX - 2)) + 2;
  entry.touched_ = tick;
  insert(entry, tick + entry.timeout_);
  ++size_;
}

uint32_t IdleWheel::touched(const IdleEntry& entry) const {
  // Not looked at twice: the next iteration may have begun at that very tick, and have lasted.
  if (entry.touched_ & kResolved) return entry.touched_ & ~kResolved;
  const Stretch& stretch = stretches_[entry.touched_ % kSlots];
  return stretch.begin == entry.touched_ ? stretch.end : entry.touched_;
}

std::optional<SteadyTime> IdleWheel::next_deadline() const {
  const uint32_t first = swept_ + 1;
  for (uint32_t distance = 0; distance < kSlots;) {
    const uint32_t slot = (first + distance) % kSlots;
    const uint64_t rest = occupied_[slot / 64] >> (slot % 64);
    if (rest != 0) return epoch_ + (int64_t{first} + distance + std::countr_zero(rest)) * kTick;
    distance += 64 - slot % 64;
  }
  return std::nullopt;
}

bool IdleWheel::sweep() {
  const uint32_t tick = iteration_;
  if (tick <= swept_) return false;
  // Taken out first: an entry that is put off may belong in a slot that is still to be looked at.
  Slot seen;
  const uint32_t passed = std::min(tick - swept_, kSlots);
  for (uint32_t i = 1; i <= passed; ++i) {
    const uint32_t slot = (swept_ + i) % kSlots;
    if (!(occupied_[slot / 64] >> (slot % 64) & 1)) continue;
    occupied_[slot / 64] &= ~(uint64_t{1} << (slot % 64));
    while (!slots_[slot].empty()) {
      IdleEntry& entry = slots_[slot].front();
      entry.unlink();
      seen.push_back(entry);
    }
  }
  swept_ = tick;
  while (!seen.empty()) {
    IdleEntry& entry = seen.front();
    entry.unlink();
    const uint32_t last = touched(entry);
    entry.touched_ = last | kResolved;  // while its iteration is still on record
    const uint32_t due = last + entry.timeout_;
    if (due > tick) {
      insert(entry, due);
    } else {
      expired_.push_back(entry);
    }
  }
  return true;
}

void IdleWheel::run_one() {
  IdleEntry& entry = expired_.front();
  entry.unlink();
  const uint32_t due = touched(entry) + entry.timeout_;
  if (due > swept_) return insert(entry, due);
  --size_;
  entry.expired();
}

}  // namespace gyre::internal
