#ifndef GYRE_LOOP_IDLE_WHEEL_H_
#define GYRE_LOOP_IDLE_WHEEL_H_

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "gyre/loop/clock.h"

namespace gyre::internal {

class IdleWheel;

// Something that is to be told when nothing happened to it for a while. Its owner disarms it before
// it is destroyed; a wheel that is destroyed first disarms it.
class IdleEntry {
 public:
  IdleEntry() = default;
  IdleEntry(const IdleEntry&) = delete;
  IdleEntry& operator=(const IdleEntry&) = delete;

  bool armed() const { return next_ != nullptr; }

 protected:
  ~IdleEntry() = default;

 private:
  friend class IdleWheel;

  // It is not armed any more, and may be armed again, or destroyed.
  virtual void expired() = 0;

  void unlink() {
    if (next_ == nullptr) return;
    previous_->next_ = next_;
    next_->previous_ = previous_;
    previous_ = next_ = nullptr;
  }

  IdleEntry* previous_ = nullptr;
  IdleEntry* next_ = nullptr;
  // The tick of the iteration in which it was touched; with kResolved the tick at which it counts
  // as touched, after a look at that iteration.
  uint32_t touched_ = 0;
  uint32_t timeout_ = 0;  // ticks
};

// Idle timeouts: so many that a heap would be a waste, so coarse that a tenth of a second does not
// matter, and put off with every byte that arrives. A wheel of slots, one per tick, as in Varghese
// and Lauck's "Hashed and hierarchical timing wheels" (1987), with lazy entries: touch() is one
// store, and an entry is looked at once per timeout, when its slot comes: it is moved to where it
// belongs by now, or has expired. So entries cost nothing to keep.
//
// An entry expires at the earliest `timeout` after it was touched, and at most two ticks and an
// iteration later. No fd, no thread, no clock: pure data. One thread.
class IdleWheel {
 public:
  // 134 ms: a shift away from nanoseconds.
  static constexpr int kTickShift = 27;
  static constexpr std::chrono::nanoseconds kTick{int64_t{1} << kTickShift};
  // Slots, 69 s; what is further away is looked at once a turn.
  static constexpr uint32_t kSlots = 512;
  // In IdleEntry::touched_, which a touch overwrites. Ticks reach it after nine years.
  static constexpr uint32_t kResolved = uint32_t{1} << 31;

  explicit IdleWheel(SteadyTime now);
  IdleWheel(const IdleWheel&) = delete;
  IdleWheel& operator=(const IdleWheel&) = delete;
  ~IdleWheel() { clear(); }

  // From `now` on; an entry that is armed is armed anew. A timeout is rounded up to ticks.
  void arm(IdleEntry& entry, std::chrono::nanoseconds timeout, SteadyTime now);
  void disarm(IdleEntry& entry) {
    if (!entry.armed()) return;
    entry.unlink();
    --size_;
  }
  // Puts the end off, as seen from the current iteration.
  void touch(IdleEntry& entry) { entry.touched_ = iteration_; }

  bool empty() const { return size_ == 0; }
  size_t size() const { return size_; }

  // Disarms all.
  void clear();

  // An iteration, in which entries are touched, begins and ends. The clock is not read in between,
  // so whatever was touched counts as touched at its end.
  void begin_iteration(SteadyTime now) { iteration_ = tick_of(now); }
  void end_iteration(SteadyTime now) {
    const uint32_t end = tick_of(now);
    if (end != iteration_) [[unlikely]]
      stretches_[iteration_ % kSlots] = {iteration_, end};
  }

  // When sweep() has to be called, at the latest; nullopt: there is nothing to look at.
  std::optional<SteadyTime> next_deadline() const;

  // Sets those aside that had expired when the iteration began. True: there were slots to look at.
  bool sweep();
  bool has_expired() const { return !expired_.empty(); }
  // Tells the next of them, which may arm, disarm and destroy entries, itself included. One that
  // was touched meanwhile is put off instead.
  void run_one();

 private:
  // The head of a list.
  class Slot final : public IdleEntry {
   public:
    Slot();

    bool empty() const;
    IdleEntry& front();
    void push_back(IdleEntry& entry);

   private:
    void expired() override {}
  };
  // An iteration that began at one tick and ended at a later one.
  struct Stretch {
    uint32_t begin = UINT32_MAX;
    uint32_t end = 0;
  };

  uint32_t tick_of(SteadyTime time) const;
  // When the entry was last touched; its iteration may have lasted.
  uint32_t touched(const IdleEntry& entry) const;
  void insert(IdleEntry& entry, uint32_t due);

  const SteadyTime epoch_;
  size_t size_ = 0;
  uint32_t iteration_ = 0;  // the tick that the current one began at
  uint32_t swept_ = 0;      // the slots up to this tick have been looked at
  std::array<Slot, kSlots> slots_;
  Slot expired_;
  std::array<uint64_t, kSlots / 64> occupied_{};  // a hint: a slot may have become empty
  std::array<Stretch, kSlots> stretches_;
};

}  // namespace gyre::internal

#endif  // GYRE_LOOP_IDLE_WHEEL_H_
