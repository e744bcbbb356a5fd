// The explorer gives the outcomes of the classic litmus tests, those and no others, and finds the
// failures that it is there to find.

#include <functional>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "gyre/tests/loop/model/explorer.h"
#include "gyre/tests/loop/model/sync.h"

namespace gyre::model {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::Not;
using ::testing::UnorderedElementsAre;

constexpr auto kRelaxed = std::memory_order_relaxed;
constexpr auto kAcquire = std::memory_order_acquire;
constexpr auto kRelease = std::memory_order_release;
constexpr MemoryModel kAllModels[] = {MemoryModel::kSequential, MemoryModel::kStoreBuffers,
                                      MemoryModel::kAcquireRelease};
constexpr MemoryModel kStrongModels[] = {MemoryModel::kSequential, MemoryModel::kStoreBuffers};

struct Memory {
  Sync::Atomic<int> x{0}, y{0};
  Sync::Plain<int> data;
};

// Appends a digit to what the thread has seen.
void see(Locals& locals, int digit) {
  locals.value = locals.value * 10 + static_cast<Value>(digit);
}

void fence() { Execution::operate({.kind = Request::Kind::kFence}); }

// Each thread is one call.
using Body = std::function<void(Memory&, Locals&)>;

class Litmus final : public Program {
 public:
  Litmus(const std::vector<Body>& bodies, std::set<std::string>& outcomes)
      : bodies_(bodies), outcomes_(outcomes) {}

  int threads() const override { return static_cast<int>(bodies_.size()); }
  void call(int thread, Locals& locals, Ledger&) override {
    bodies_[thread](memory_, locals);
    locals.position = 1;
  }
  bool ended(int, const Locals& locals) const override { return locals.position == 1; }
  // What the threads that saw something saw, and the last values of x and y.
  const char* at_rest(const State& state) override {
    std::string outcome;
    for (int i = 0; i < threads(); ++i) {
      const Locals& locals = state.threads[i].locals;
      if (locals.count > 0) outcome += digits(locals) + " ";
    }
    for (int location : {0, 1}) {
      const Message* messages = state.messages_of(location);
      outcome += std::to_string(messages[state.counts[location] - 1].value);
    }
    outcomes_.insert(outcome);
    return nullptr;
  }

 private:
  static std::string digits(const Locals& locals) {
    const std::string text = std::to_string(locals.value);
    return std::string(locals.count - text.size(), '0') + text;
  }

  const std::vector<Body>& bodies_;
  std::set<std::string>& outcomes_;
  Memory memory_;
};

Result run(MemoryModel model, const std::vector<Body>& bodies, std::set<std::string>& outcomes) {
  return explore([&] { return std::make_unique<Litmus>(bodies, outcomes); }, {.model = model});
}

// Without the last values.
std::set<std::string> outcomes(MemoryModel model, const std::vector<Body>& bodies) {
  std::set<std::string> all, seen;
  const Result result = run(model, bodies, all);
  EXPECT_EQ(result.failure, "") << result.to_string();
  for (const std::string& outcome : all) seen.insert(outcome.substr(0, outcome.size() - 3));
  return seen;
}

std::set<std::string> last_values(MemoryModel model, const std::vector<Body>& bodies) {
  std::set<std::string> all, last;
  const Result result = run(model, bodies, all);
  EXPECT_EQ(result.failure, "") << result.to_string();
  for (const std::string& outcome : all) last.insert(outcome.substr(outcome.size() - 2));
  return last;
}

std::string failure(MemoryModel model, const std::vector<Body>& bodies) {
  std::set<std::string> all;
  return run(model, bodies, all).failure;
}

// A thread that looks at one location after the other, with something in between.
template <class Between>
Body looks(Sync::Atomic<int> Memory::*first, Sync::Atomic<int> Memory::*second,
           std::memory_order order, Between between) {
  return [=](Memory& memory, Locals& locals) {
    see(locals, (memory.*first).load(order));
    between();
    see(locals, (memory.*second).load(order));
    locals.count = 2;
  };
}
constexpr auto kNothing = [] {};

template <class Between>
std::vector<Body> store_buffering(Between between) {
  return {[=](Memory& memory, Locals& locals) {
            memory.x.store(1, kRelease);
            between();
            see(locals, memory.y.load(kAcquire));
            locals.count = 1;
          },
          [=](Memory& memory, Locals& locals) {
            memory.y.store(1, kRelease);
            between();
            see(locals, memory.x.load(kAcquire));
            locals.count = 1;
          }};
}

TEST(Litmus, StoreBuffering) {
  const auto bodies = store_buffering(kNothing);
  EXPECT_THAT(outcomes(MemoryModel::kSequential, bodies),
              UnorderedElementsAre("0 1", "1 0", "1 1"));
  for (MemoryModel model : {MemoryModel::kStoreBuffers, MemoryModel::kAcquireRelease})
    EXPECT_THAT(outcomes(model, bodies), UnorderedElementsAre("0 0", "0 1", "1 0", "1 1"));
}

TEST(Litmus, StoreBufferingWithFences) {
  for (MemoryModel model : kAllModels) {
    EXPECT_THAT(outcomes(model, store_buffering(fence)), UnorderedElementsAre("0 1", "1 0", "1 1"));
  }
}

std::vector<Body> message_passing(std::memory_order store, std::memory_order load) {
  return {[=](Memory& memory, Locals&) {
            memory.x.store(1, kRelaxed);
            memory.y.store(1, store);
          },
          looks(&Memory::y, &Memory::x, load, kNothing)};
}

TEST(Litmus, MessagePassing) {
  for (auto [store, load] : {std::pair(kRelease, kAcquire), std::pair(kRelaxed, kAcquire),
                             std::pair(kRelease, kRelaxed)}) {
    const auto bodies = message_passing(store, load);
    for (MemoryModel model : kStrongModels)
      EXPECT_THAT(outcomes(model, bodies), UnorderedElementsAre("00", "01", "11"));
    const auto weak = outcomes(MemoryModel::kAcquireRelease, bodies);
    if (store == kRelease && load == kAcquire) {
      EXPECT_THAT(weak, UnorderedElementsAre("00", "01", "11"));
    } else {
      EXPECT_THAT(weak, UnorderedElementsAre("00", "01", "10", "11"));
    }
  }
}

TEST(Litmus, LoadBufferingIsExcluded) {
  const auto body = [](Sync::Atomic<int> Memory::*from, Sync::Atomic<int> Memory::*to) -> Body {
    return [=](Memory& memory, Locals& locals) {
      see(locals, (memory.*from).load(kRelaxed));
      (memory.*to).store(1, kRelaxed);
      locals.count = 1;
    };
  };
  for (MemoryModel model : kAllModels) {
    EXPECT_THAT(outcomes(model, {body(&Memory::x, &Memory::y), body(&Memory::y, &Memory::x)}),
                UnorderedElementsAre("0 0", "0 1", "1 0"));
  }
}

template <class Between>
std::vector<Body> independent_reads(Between between) {
  return {[](Memory& memory, Locals&) { memory.x.store(1, kRelease); },
          [](Memory& memory, Locals&) { memory.y.store(1, kRelease); },
          looks(&Memory::x, &Memory::y, kAcquire, between),
          looks(&Memory::y, &Memory::x, kAcquire, between)};
}

TEST(Litmus, IndependentReadsOfIndependentWrites) {
  for (MemoryModel model : kStrongModels) {
    const auto seen = outcomes(model, independent_reads(kNothing));
    EXPECT_EQ(seen.size(), 15u);
    EXPECT_THAT(seen, Not(Contains("10 10")));
  }
  const auto weak = outcomes(MemoryModel::kAcquireRelease, independent_reads(kNothing));
  EXPECT_EQ(weak.size(), 16u);
  EXPECT_THAT(weak, Contains("10 10"));
  const auto fenced = outcomes(MemoryModel::kAcquireRelease, independent_reads(fence));
  EXPECT_EQ(fenced.size(), 15u);
  EXPECT_THAT(fenced, Not(Contains("10 10")));
}

TEST(Litmus, ALocationIsCoherent) {
  const Body writes = [](Memory& memory, Locals&) {
    memory.x.store(1, kRelaxed);
    memory.x.store(2, kRelaxed);
  };
  for (MemoryModel model : kAllModels) {
    EXPECT_THAT(outcomes(model, {writes, looks(&Memory::x, &Memory::x, kRelaxed, kNothing)}),
                UnorderedElementsAre("00", "01", "02", "11", "12", "22"));
  }
}

TEST(Litmus, TwoWritesTwice) {
  const std::vector<Body> bodies = {[](Memory& memory, Locals&) {
                                      memory.x.store(1, kRelaxed);
                                      memory.y.store(2, kRelaxed);
                                    },
                                    [](Memory& memory, Locals&) {
                                      memory.y.store(1, kRelaxed);
                                      memory.x.store(2, kRelaxed);
                                    }};
  for (MemoryModel model : kStrongModels)
    EXPECT_THAT(last_values(model, bodies), UnorderedElementsAre("12", "21", "22"));
  EXPECT_THAT(last_values(MemoryModel::kAcquireRelease, bodies),
              UnorderedElementsAre("11", "12", "21", "22"));
}

TEST(Litmus, ReadModifyWritesLoseNothing) {
  const Body adds = [](Memory& memory, Locals& locals) {
    see(locals, memory.x.fetch_add(1, kRelaxed));
    locals.count = 1;
  };
  const Body exchanges = [](Memory& memory, Locals& locals) {
    int expected = 0;
    see(locals, memory.x.compare_exchange_strong(expected, 1, kRelaxed, kRelaxed));
    locals.count = 1;
  };
  for (MemoryModel model : kAllModels) {
    EXPECT_THAT(outcomes(model, {adds, adds}), UnorderedElementsAre("0 1", "1 0"));
    EXPECT_THAT(outcomes(model, {exchanges, exchanges}), UnorderedElementsAre("0 1", "1 0"));
  }
}

TEST(Litmus, AWeakCompareExchangeMayFailForNothing) {
  const Body weak = [](Memory& memory, Locals& locals) {
    int expected = 0;
    see(locals, memory.x.compare_exchange_weak(expected, 1, kRelaxed, kRelaxed));
    locals.count = 1;
  };
  for (MemoryModel model : kAllModels)
    EXPECT_THAT(outcomes(model, {weak}), UnorderedElementsAre("0", "1"));
}

// What comes after an acquiring load of `value` knows of the data.
Body takes(int value) {
  return [value](Memory& memory, Locals&) {
    if (memory.x.load(kAcquire) == value) memory.data.set(2);
  };
}
Body hands_over(std::memory_order order) {
  return [order](Memory& memory, Locals&) {
    memory.data.set(1);
    memory.x.store(1, order);
  };
}

TEST(Litmus, ADataRaceIsFound) {
  constexpr MemoryModel kModel = MemoryModel::kAcquireRelease;
  EXPECT_EQ(failure(kModel, {hands_over(kRelease), takes(1)}), "");
  EXPECT_EQ(failure(kModel, {hands_over(kRelaxed), takes(1)}), "a data race");
  EXPECT_EQ(failure(kModel, {hands_over(kRelease), takes(0)}), "a data race");
}

TEST(Litmus, AUseAfterTheEndIsFound) {
  const Body frees = [](Memory& memory, Locals&) {
    if (memory.x.load(kAcquire) == 0) return;
    memory.data.free();
    memory.y.store(1, kRelease);
  };
  const Body writes_late = [](Memory& memory, Locals&) {
    memory.x.store(1, kRelease);
    if (memory.y.load(kAcquire) == 1) memory.data.set(1);
  };
  for (MemoryModel model : kAllModels) {
    EXPECT_EQ(failure(model, {writes_late, frees}),
              "a datum is touched after its owner has freed it");
  }
}

TEST(Litmus, AReleaseSequenceGoesThroughReadModifyWritesAndNoStores) {
  constexpr MemoryModel kModel = MemoryModel::kAcquireRelease;
  const Body adds = [](Memory& memory, Locals&) { memory.x.fetch_add(1, kRelaxed); };
  EXPECT_EQ(failure(kModel, {hands_over(kRelease), adds, takes(2)}), "");
  const Body stores = [](Memory& memory, Locals&) {
    if (memory.x.load(kRelaxed) == 1) memory.x.store(2, kRelaxed);
  };
  EXPECT_EQ(failure(kModel, {hands_over(kRelease), stores, takes(2)}), "a data race");
}

TEST(Litmus, AThreadThatWaitsForNothingIsFound) {
  const Body waits = [](Memory& memory, Locals&) {
    while (memory.x.load(kAcquire) == 0) Execution::spin();
  };
  const Body ends_it = [](Memory& memory, Locals&) { memory.x.store(1, kRelease); };
  for (MemoryModel model : kAllModels) {
    EXPECT_EQ(failure(model, {waits, ends_it}), "");
    EXPECT_EQ(failure(model, {waits}), "a thread is blocked for ever");
  }
}

TEST(Litmus, AThreadThatDoesTheSameForEverIsFound) {
  class Loops final : public Program {
   public:
    int threads() const override { return 1; }
    void call(int, Locals&, Ledger&) override { x_.load(kRelaxed); }
    bool ended(int, const Locals&) const override { return false; }

   private:
    Sync::Atomic<int> x_{0};
  };
  for (MemoryModel model : kAllModels) {
    const Result result = explore([] { return std::make_unique<Loops>(); }, {.model = model});
    EXPECT_EQ(result.failure, "a thread spins for ever");
  }
}

TEST(Litmus, AFailureComesWithTheStepsThatLeadToIt) {
  std::set<std::string> all;
  const Result result = run(MemoryModel::kAcquireRelease, {hands_over(kRelaxed), takes(1)}, all);
  EXPECT_THAT(result.trace, ElementsAre("thread 0: store of 1 to location 0",
                                        "thread 1: load of location 0 gives 1"));
  EXPECT_THAT(result.to_string(), ::testing::HasSubstr("a data race (3 states"));
}

TEST(Litmus, AnExplorationThatIsCutOffSaysSo) {
  std::set<std::string> all;
  const auto bodies = independent_reads(kNothing);
  const Result result =
      explore([&] { return std::make_unique<Litmus>(bodies, all); }, {.max_states = 10});
  EXPECT_FALSE(result.complete);
  EXPECT_EQ(result.states, 10u);
}

}  // namespace
}  // namespace gyre::model
