// Explores the shipped queue: three producers with two pushes each, a stop, a close at any turn,
// and a sleep that may end by I/O. See docs/callback_queue.md.

#include <cstdio>
#include <string>

#include "gtest/gtest.h"
#include "gyre/loop/mpsc_inbox.h"
#include "gyre/tests/loop/model/queue_program.h"

namespace gyre::model {
namespace {

// A sanitizer looks at the explorer here, for which less will do.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr int kProducers = 2;
#else
constexpr int kProducers = 3;
#endif

void expect_right(const QueueShape& shape, const Options& options) {
  const Result result = explore_queue<internal::MpscInbox>(shape, options);
  std::printf("%s, %d producers x %d pushes%s: %llu states, %llu steps\n", to_string(options.model),
              shape.producers, shape.pushes, options.reduce ? "" : ", not reduced",
              static_cast<unsigned long long>(result.states),
              static_cast<unsigned long long>(result.steps));
  EXPECT_EQ(result.failure, "") << result.to_string();
  EXPECT_TRUE(result.complete);
}

// In a target of its own, for it takes a minute: see BUILD.bazel.
TEST(QueueModelAcquireRelease, EveryInterleavingKeepsTheContract) {
  expect_right({.producers = kProducers}, {.model = MemoryModel::kAcquireRelease});
}

TEST(QueueModel, EveryInterleavingKeepsTheContractSequentially) {
  expect_right({.producers = kProducers}, {.model = MemoryModel::kSequential});
}

TEST(QueueModel, EveryInterleavingKeepsTheContractWithStoreBuffers) {
  expect_right({.producers = kProducers}, {.model = MemoryModel::kStoreBuffers});
}

TEST(QueueModel, TheContractDoesNotDependOnTheReductions) {
  for (MemoryModel model :
       {MemoryModel::kSequential, MemoryModel::kStoreBuffers, MemoryModel::kAcquireRelease}) {
    expect_right({.producers = 1, .pushes = 2}, {.model = model, .reduce = false});
    expect_right({.producers = 2, .pushes = 1}, {.model = model, .reduce = false});
    expect_right({.producers = 2, .pushes = 2, .stop = false}, {.model = model, .reduce = false});
  }
}

TEST(QueueModel, ManySleepsThatEndByThemselvesKeepTheContract) {
  for (MemoryModel model : {MemoryModel::kSequential, MemoryModel::kAcquireRelease})
    expect_right({.producers = 2, .pushes = 1, .io = 4}, {.model = model});
}

}  // namespace
}  // namespace gyre::model
