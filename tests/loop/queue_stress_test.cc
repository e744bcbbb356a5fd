// Ten million posts; under ThreadSanitizer too. //tests/loop:queue_stress does more.

#include "gyre/tests/loop/queue_stress.h"

#include <sys/mman.h>
#include <sys/stat.h>

#include <array>
#include <cstdint>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "gyre/loop/io_loop.h"
#include "gyre/loop/unique_fd.h"

namespace gyre::testing {
namespace {

using ::testing::IsEmpty;

TEST(QueueStress, TenMillionPostsKeepTheContract) {
  const StressReport report = stress_queue({.posts = 10'000'000});
  EXPECT_THAT(report.violations, IsEmpty());
  EXPECT_GE(report.posts, 10'000'000u);
  EXPECT_EQ(report.run + report.discarded + report.refused, report.posts);
  EXPECT_GT(report.run, 0u);
  EXPECT_GT(report.refused, 0u) << "no post came after a close";
  EXPECT_GT(report.rounds, 10u);
  EXPECT_LE(report.woken, report.sleeps);
}

TEST(QueueStress, ALoopRunsWhatManyThreadsPostInTheOrderOfEach) {
  constexpr int kProducers = 3, kPosts = 100'000;
  auto loop = IOLoop::create();
  ASSERT_TRUE(loop.ok());
  IOLoop& io_loop = **loop;
  std::vector<int> next(kProducers, 0);
  int out_of_order = 0, total = 0;
  std::vector<std::thread> producers;
  for (int p = 0; p < kProducers; ++p) {
    producers.emplace_back([&, p] {
      for (int i = 0; i < kPosts; ++i) {
        EXPECT_TRUE(io_loop.add_callback([&, p, i] {
          out_of_order += next[p]++ != i;
          if (++total == kProducers * kPosts) io_loop.stop();
        }));
      }
    });
  }
  EXPECT_TRUE(io_loop.start().ok());
  for (std::thread& producer : producers) producer.join();
  EXPECT_EQ(out_of_order, 0);
  EXPECT_EQ(total, kProducers * kPosts);
}

// Files that take the lowest free numbers, among them those that a closed loop had.
class Files {
 public:
  Files() {
    for (UniqueFd& file : files_) file = UniqueFd(::memfd_create("not the loop's", MFD_CLOEXEC));
  }
  int64_t bytes() const {
    int64_t result = 0;
    for (const UniqueFd& file : files_) {
      struct stat status {};
      result += ::fstat(file.get(), &status) == 0 ? static_cast<int64_t>(status.st_size) : 1;
    }
    return result;
  }

 private:
  std::array<UniqueFd, 6> files_;
};

TEST(QueueStress, AClosedLoopNeverWritesToAFileThatGotItsWakeFd) {
  for (int round = 0; round < 100; ++round) {
    auto loop = IOLoop::create();
    ASSERT_TRUE(loop.ok());
    IOLoop& io_loop = **loop;
    const int stop_after = round * 7 % 50;
    int ran = 0;
    std::vector<std::thread> producers;
    for (int p = 0; p < 2; ++p) {
      producers.emplace_back([&] {
        // Until the loop is closed; yielding, so that it sleeps now and then.
        while (io_loop.add_callback([&] {
          if (++ran >= stop_after) io_loop.stop();
        }))
          std::this_thread::yield();
      });
    }
    EXPECT_TRUE(io_loop.start().ok());
    EXPECT_TRUE(io_loop.close().ok());
    const Files files;
    for (std::thread& producer : producers) producer.join();
    EXPECT_EQ(files.bytes(), 0);
  }
}

}  // namespace
}  // namespace gyre::testing
