#ifndef GYRE_TESTS_LOOP_MODEL_EXPLORER_H_
#define GYRE_TESTS_LOOP_MODEL_EXPLORER_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "gyre/tests/loop/model/memory_model.h"
#include "gyre/tests/loop/model/state.h"

namespace gyre::model {

// What is explored: some threads, each of which makes one call after another until it has ended.
class Program {
 public:
  virtual ~Program() = default;

  virtual int threads() const = 0;
  // The first so many threads do the same, so that it does not matter which of them begins.
  virtual int alike() const { return 0; }
  virtual std::string name(int thread) const { return "thread " + std::to_string(thread); }

  // Before anything runs.
  virtual void begin(Ledger&) {}
  // One call: see Execution. At least one operation.
  virtual void call(int thread, Locals& locals, Ledger& ledger) = 0;
  virtual bool ended(int thread, const Locals& locals) const = 0;

  // A wake-up was written. Nullptr, or what is wrong with that; so the others, too.
  virtual const char* on_wake(Ledger&) { return nullptr; }
  // Brings a state to another from which the same follows, so that fewer are told apart.
  virtual void reduce(State&, MemoryModel) {}
  // Where a compare-exchange of that location that expects the value can never succeed again: what
  // stands for all such values.
  virtual std::optional<Value> outdated(const State&, const Request&) { return std::nullopt; }

  // No thread will go on by itself: each has ended, or waits for what may never come.
  virtual const char* at_rest(const State&) { return nullptr; }
};

struct Options {
  MemoryModel model = MemoryModel::kSequential;
  uint64_t max_states = UINT64_MAX;
  bool reduce = true;  // false: without Program::reduce and outdated; longer, with plainer traces
  // Called every million states with the numbers so far.
  std::function<void(uint64_t states, size_t depth)> progress = nullptr;
};

struct Result {
  uint64_t states = 0;  // distinct ones
  uint64_t steps = 0;
  bool complete = true;            // not cut off by max_states
  std::string failure;             // empty: none
  std::vector<std::string> trace;  // the steps that lead to the failure
  std::string to_string() const;
};

// Everything that the threads of a program may do under a memory model: every interleaving of their
// operations, and every value that a load may give. Depth first; a state that was seen before is
// not explored again. Seen is what has the same 64-bit hash, so one of N states is missed with a
// probability of N^2 / 2^65: one in 80,000 for 20 million.
//
// Ends at the first failure: one that the program or the memory model reports, a thread that is
// blocked for ever anywhere but in its wait, or one that spins for ever.
//
// `make` constructs the program, and in it the atomics and the data that are explored.
Result explore(const std::function<std::unique_ptr<Program>()>& make, const Options& options);

}  // namespace gyre::model

#endif  // GYRE_TESTS_LOOP_MODEL_EXPLORER_H_
