#include "gyre/tests/loop/model/state_hash.h"

#include <cstring>
#include <utility>

namespace gyre::model {
namespace {

class Hasher {
 public:
  // A folded 128-bit product: each bit of the input reaches each bit of the result.
  void add(uint64_t value) {
    __extension__ typedef unsigned __int128 Wide;
    const Wide product =
        static_cast<Wide>(value ^ state_ ^ 0x9e3779b97f4a7c15) * 0xd6e8feb86659fd93;
    state_ = (static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64)) +
             (state_ << 23 | state_ >> 41);
  }

  void add(const View& view) {
    uint64_t low = 0;
    std::memcpy(&low, view.seen.data(), sizeof(low));
    add(view.known);
    add(low);
    for (size_t i = sizeof(low); i < view.seen.size(); ++i) add(view.seen[i]);
  }

  void add(const Thread& thread) {
    add(thread.locals.position | uint64_t{thread.locals.count} << 8 |
        uint64_t{thread.logged} << 16 | uint64_t{thread.log_written} << 24 |
        uint64_t{thread.started} << 32 | uint64_t{thread.ended} << 33 |
        uint64_t{thread.spins} << 34 | uint64_t{static_cast<uint8_t>(thread.reread)} << 40);
    add(thread.locals.value);
    if (thread.spins) add(thread.last_read);
    add(thread.view);
    for (int i = 0; i < thread.logged; ++i) add(thread.log[i]);
  }

  void add(const StoreBuffer& buffer) {
    add(uint64_t{buffer.size});
    for (int i = 0; i < buffer.size; ++i) {
      add(uint64_t{buffer.stores[i].location});
      add(buffer.stores[i].value);
    }
  }

  void add(const Ledger& ledger) {
    add(uint64_t{ledger.token} | uint64_t{ledger.waker_destroyed} << 1 |
        uint64_t{ledger.stop_asked} << 2 | uint64_t{ledger.stop_seen} << 3 |
        uint64_t{ledger.closed} << 4 | uint64_t{ledger.io_left} << 8 |
        uint64_t{ledger.wakes} << 16 | uint64_t{ledger.sleeps} << 24);
    add(ledger.accepted | uint64_t{ledger.refused} << 16 | uint64_t{ledger.handed_out} << 32);
  }

  uint64_t result() const { return state_; }

 private:
  uint64_t state_ = 0x2545f4914f6cdd1d;
};

}  // namespace

uint64_t hash(const State& state, int threads) {
  Hasher hasher;
  hasher.add(state.ledger);
  hasher.add(state.dead);
  for (Value value : state.plain) hasher.add(value);
  hasher.add(state.fence);
  for (int i = 0; i < threads; ++i) {
    hasher.add(state.threads[i]);
    hasher.add(state.buffers[i]);
  }
  for (uint8_t count : state.counts) hasher.add(uint64_t{count});
  const int total = state.total_messages();
  for (int i = 0; i < total; ++i) {
    hasher.add(state.messages[i].value);
    hasher.add(state.messages[i].view);
    hasher.add(uint64_t{state.messages[i].follows});
  }
  const uint64_t result = hasher.result() & ~uint64_t{1};
  return result == 0 ? 2 : result;
}

uint64_t* StateSet::find(uint64_t hash) {
  const uint64_t mask = slots_.size() - 1;
  uint64_t at = (hash >> 1) & mask;
  while (slots_[at] != 0 && (slots_[at] & ~kOnPathBit) != hash) at = (at + 1) & mask;
  return &slots_[at];
}

StateSet::Found StateSet::add(uint64_t hash) {
  if (size_ * 3 > slots_.size() * 2) grow();
  uint64_t* slot = find(hash);
  if (*slot != 0) return *slot & kOnPathBit ? Found::kOnPath : Found::kSeen;
  *slot = hash | kOnPathBit;
  ++size_;
  return Found::kNew;
}

void StateSet::leave_path(uint64_t hash) { *find(hash) &= ~kOnPathBit; }

void StateSet::grow() {
  std::vector<uint64_t> old(slots_.size() * 2);
  std::swap(old, slots_);
  for (uint64_t slot : old) {
    if (slot != 0) *find(slot & ~kOnPathBit) = slot;
  }
}

}  // namespace gyre::model
