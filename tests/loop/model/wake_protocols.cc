#include "gyre/tests/loop/model/wake_protocols.h"

#include <array>
#include <memory>

#include "gyre/tests/loop/model/sync.h"

namespace gyre::model {
namespace {

using P = WakeProtocol;

constexpr auto kRelaxed = std::memory_order_relaxed;
constexpr auto kAcquire = std::memory_order_acquire;
constexpr auto kRelease = std::memory_order_release;
constexpr auto kBoth = std::memory_order_acq_rel;

constexpr int kProducers = 2;
constexpr std::array<int, kProducers> kPushes = {2, 1};
constexpr int kNodes = 3;

void fence() { Execution::operate({.kind = Request::Kind::kFence}); }
void write_wake() { Execution::operate({.kind = Request::Kind::kWake}); }

// The consumer of all: drains, one node a call, and sleeps once it finds nothing.
class ProtocolProgram : public Program {
 public:
  int threads() const override { return kProducers + 1; }
  void call(int thread, Locals& locals, Ledger& ledger) override {
    if (thread < kProducers) {
      push(thread * kPushes[0] + locals.count + 1);
      ++locals.count;
    } else {
      consume(locals, ledger);
    }
  }
  bool ended(int thread, const Locals& locals) const override {
    return thread < kProducers && locals.count == kPushes[thread];
  }
  const char* at_rest(const State& state) override {
    return state.ledger.handed_out < kNodes ? "a lost wake-up" : nullptr;
  }

 protected:
  // `node` counts from 1.
  virtual void push(int node) = 0;
  virtual void consume(Locals& locals, Ledger& ledger) = 0;
};

class LinkedProgram final : public ProtocolProgram {
 public:
  explicit LinkedProgram(P protocol) : protocol_(protocol) {}

 private:
  enum Position : uint8_t { kDrain, kFallAsleep, kWait, kWoken };

  void push(int node) override {
    const int before = end_.exchange(node, kBoth);
    if (protocol_ == P::kM8DecidedBeforeLink) wake(before);
    next_[before].store(node, kRelease);
    if (protocol_ != P::kM8DecidedBeforeLink) wake(before);
  }

  // `flag_` is whether the consumer sleeps, whether a wake-up is pending, or the node at which the
  // consumer saw the end.
  void wake(int before) {
    switch (protocol_) {
      case P::kWakeAlways:
        break;
      case P::kAsleepFences:
        fence();
        if (flag_.load(kRelaxed) == 0) return;
        break;
      case P::kM2ProducerLoads:
        if (flag_.load(kAcquire) == 0) return;
        break;
      case P::kM6LatchReadFirst:
        if (flag_.load(kRelaxed) == 1 || flag_.exchange(1, kBoth) == 1) return;
        break;
      case P::kLatch:
      case P::kM4LatchStored:
      case P::kM5LatchClearedLate:
        if (flag_.exchange(1, kBoth) == 1) return;
        break;
      case P::kM7WakeAtTheEdge:
        if (flag_.load(kAcquire) != before) return;
        break;
      default:
        if (flag_.exchange(0, kBoth) == 0) return;
    }
    write_wake();
  }

  // Keeps in locals.count the last node that it took.
  void consume(Locals& locals, Ledger& ledger) override {
    switch (locals.position) {
      case kDrain:
        if (const int node = next_[locals.count].load(kAcquire); node != 0) {
          locals.count = static_cast<uint8_t>(node);
          ++ledger.handed_out;
        } else {
          locals.position = kFallAsleep;
        }
        break;
      case kFallAsleep:
        locals.position = may_wait(locals.count) ? kWait : kDrain;
        break;
      case kWait:
        Execution::operate({.kind = Request::Kind::kWait});
        locals.position = kWoken;
        break;
      case kWoken:
        clear();
        locals.position = kDrain;
    }
  }

  bool may_wait(int last) {
    switch (protocol_) {
      case P::kM1ConsumerStores:
        flag_.store(1, kRelease);
        break;
      case P::kAsleepFences:
        flag_.store(1, kRelaxed);
        fence();
        break;
      case P::kAsleepFlag:
      case P::kAsleepFlagStored:
      case P::kM2ProducerLoads:
      case P::kM8DecidedBeforeLink:
        flag_.exchange(1, kBoth);
        break;
      case P::kM3NoSecondLook:
        flag_.exchange(1, kBoth);
        return true;
      case P::kM5LatchClearedLate:
        flag_.exchange(0, kBoth);
        return true;
      case P::kM7WakeAtTheEdge:
        flag_.exchange(last, kBoth);
        break;
      default:
        return true;
    }
    return next_[last].load(kAcquire) == 0;
  }

  void clear() {
    switch (protocol_) {
      case P::kAsleepFlag:
      case P::kLatch:
      case P::kM6LatchReadFirst:
        flag_.exchange(0, kBoth);
        break;
      case P::kWakeAlways:
      case P::kM5LatchClearedLate:
      case P::kM7WakeAtTheEdge:
        next_[0].load(kRelaxed);  // a call does something
        break;
      default:
        flag_.store(0, kRelaxed);
    }
  }

  const P protocol_;
  Sync::Atomic<int> end_{0};
  Sync::Atomic<int> flag_{0};
  std::array<Sync::Atomic<int>, kNodes + 1> next_;
};

class StackProgram final : public ProtocolProgram {
 private:
  static constexpr int kSleeps = 9;
  enum Position : uint8_t { kTake, kFallAsleep, kWait };

  void push(int node) override {
    int seen = newest_.load(kRelaxed);
    do {
      next_[node].set(seen == kSleeps ? 0 : seen);
    } while (!newest_.compare_exchange_weak(seen, node, kRelease, kRelaxed));
    if (seen == kSleeps) write_wake();
  }

  void consume(Locals& locals, Ledger& ledger) override {
    switch (locals.position) {
      case kTake: {
        int node = newest_.exchange(0, kAcquire);
        for (; node != 0 && node != kSleeps; ++ledger.handed_out) node = next_[node].get();
        locals.position = kFallAsleep;
        break;
      }
      case kFallAsleep: {
        int expected = 0;
        locals.position =
            newest_.compare_exchange_strong(expected, kSleeps, kRelaxed, kRelaxed) ? kWait : kTake;
        break;
      }
      case kWait:
        Execution::operate({.kind = Request::Kind::kWait});
        locals.position = kTake;
    }
  }

  Sync::Atomic<int> newest_{0};
  std::array<Sync::Plain<int>, kNodes + 1> next_;
};

}  // namespace

Result explore_protocol(WakeProtocol protocol, MemoryModel model) {
  return explore(
      [&]() -> std::unique_ptr<Program> {
        if (protocol == P::kTaggedStack) return std::make_unique<StackProgram>();
        return std::make_unique<LinkedProgram>(protocol);
      },
      {.model = model});
}

}  // namespace gyre::model
