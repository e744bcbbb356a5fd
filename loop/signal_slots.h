#ifndef GYRE_LOOP_SIGNAL_SLOTS_H_
#define GYRE_LOOP_SIGNAL_SLOTS_H_

#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "gyre/loop/callback_node.h"

namespace gyre::internal {

// Room for the callbacks of signal handlers, allocated with the loop: a handler may neither
// allocate nor take a lock (signal-safety(7)). Taking and giving back are lock-free, on a bitmap.
class SignalSlots {
 public:
  static constexpr size_t kSlots = 256;
  static constexpr size_t kCallableBytes = 32;

  SignalSlots() {
    for (auto& word : free_) word.store(~uint64_t{0}, std::memory_order_relaxed);
  }

  // Any thread. Signal-safe. nullptr: all are taken.
  void* take() {
    for (size_t i = 0; i < free_.size(); ++i) {
      uint64_t seen = free_[i].load(std::memory_order_relaxed);
      while (seen != 0) {
        const uint64_t lowest = seen & (~seen + 1);
        // Acquire: pairs with give; the slot's last use is over.
        if (free_[i].compare_exchange_weak(seen, seen & ~lowest, std::memory_order_acquire,
                                           std::memory_order_relaxed)) {
          return &slots_[i * 64 + std::countr_zero(lowest)];
        }
      }
    }
    return nullptr;
  }

  // Any thread. Signal-safe.
  void give(void* slot) {
    const size_t index = static_cast<Slot*>(slot) - slots_.data();
    free_[index / 64].fetch_or(uint64_t{1} << (index % 64), std::memory_order_release);
  }

 private:
  struct alignas(16) Slot {
    std::byte bytes[sizeof(CallbackNode) + 8 + kCallableBytes];
  };

  std::array<std::atomic<uint64_t>, kSlots / 64> free_;
  std::array<Slot, kSlots> slots_;
};

}  // namespace gyre::internal

#endif  // GYRE_LOOP_SIGNAL_SLOTS_H_
