// The explorer finds what is wrong with each mutant of the queue, and nothing wrong with the queue.

#include <cstdio>
#include <string>

#include "gtest/gtest.h"
#include "gyre/tests/loop/model/queue_mutants.h"

namespace gyre::model {
namespace {

struct Attempt {
  QueueShape shape;
  bool reduce;
};

// The smallest first. Without the reductions, which are argued for the queue as it is: a mutant is
// to be found for its own sake.
constexpr Attempt kAttempts[] = {
    {{.producers = 1, .pushes = 1}, false},
    {{.producers = 1, .pushes = 2}, false},
    {{.producers = 2, .pushes = 1}, false},
    {{.producers = 2, .pushes = 2}, true},
};
constexpr MemoryModel kModels[] = {MemoryModel::kSequential, MemoryModel::kStoreBuffers,
                                   MemoryModel::kAcquireRelease};

// What is wrong with it; empty: nothing.
std::string find_failure(const Mutant& mutant) {
  for (const Attempt& attempt : kAttempts) {
    for (MemoryModel model : kModels) {
      const Result result =
          mutant.explore(attempt.shape, {.model = model, .reduce = attempt.reduce});
      if (result.failure.empty()) continue;
      std::printf("  %dx%d, %s, %llu states: %s\n", attempt.shape.producers, attempt.shape.pushes,
                  to_string(model), static_cast<unsigned long long>(result.states),
                  result.failure.c_str());
      return result.failure;
    }
  }
  return "";
}

TEST(QueueMutants, AreFoundUnlessTheyAreEquivalent) {
  int found = 0, relaxed = 0, equivalent = 0;
  for (const Mutant& mutant : mutants()) {
    std::printf("%s\n", mutant.name);
    const std::string failure = find_failure(mutant);
    if (mutant.equivalent) {
      ++equivalent;
      EXPECT_EQ(failure, "") << mutant.name << ": not equivalent after all";
    } else {
      ++found;
      EXPECT_NE(failure, "") << mutant.name << ": survived";
    }
    relaxed += std::string(mutant.name).rfind("order ", 0) == 0;
  }
  std::printf(
      "%d mutants found, %d of them relaxed orders; %d equivalent ones and the original pass\n",
      found, relaxed, equivalent - 1);
  EXPECT_GE(found, 12 + relaxed);
  EXPECT_GE(relaxed, 5) << "R1 twice, A1 twice, R2, A2";
}

}  // namespace
}  // namespace gyre::model
