// What is select's own: sets of fds, and where they end.

#include "gyre/loop/poller/select_poller.h"

#include <fcntl.h>
#include <sys/resource.h>

#include <memory>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "gyre/tests/support/sockets.h"

namespace gyre::internal {
namespace {

using absl::StatusCode;
using std::chrono::nanoseconds;
using testing::FdPair;
using ::testing::HasSubstr;
using testing::pipe_pair;
using testing::socket_pair;
using testing::write_all;

constexpr uint32_t READ = PollEvents::kRead;
constexpr uint32_t WRITE = PollEvents::kWrite;

class SelectSets : public ::testing::Test {
 protected:
  static std::unique_ptr<Poller> make(int fd_limit) {
    absl::StatusOr<std::unique_ptr<Poller>> poller = SelectPoller::create_with_limit(fd_limit);
    EXPECT_TRUE(poller.ok()) << poller.status();
    return poller.ok() ? *std::move(poller) : nullptr;
  }
  // A copy of `fd` that has this number.
  static UniqueFd at(int number, int fd) {
    UniqueFd copy(::dup2(fd, number));
    EXPECT_EQ(copy.get(), number);
    return copy;
  }
  static bool allowed(int number) {
    rlimit limit{};
    return ::getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur > static_cast<rlim_t>(number);
  }
};

TEST_F(SelectSets, GrowPastFdSetSizeWhereThePlatformLetsThem) {
  // Guards against FD_SET, which writes wherever the number points.
  if (kSelectFdLimit <= FD_SETSIZE) GTEST_SKIP() << "select(2) takes no more than an fd_set here";
  if (!allowed(19000)) GTEST_SKIP() << "numbers up to 19000 are not allowed here";
  std::unique_ptr<Poller> poller = make(kSelectFdLimit);
  FdPair pair = socket_pair();
  write_all(pair.b.get(), "x");
  std::vector<UniqueFd> high;
  for (int number : {FD_SETSIZE - 1, FD_SETSIZE, 4095, 4096, 19000}) {
    high.push_back(at(number, pair.a.get()));
    ASSERT_TRUE(poller->add(number, READ | WRITE, number, Trigger::kLevel).ok());
  }
  std::vector<uint64_t> tokens;
  for (const Poller::Event& event : poller->wait(nanoseconds(0)).events) {
    EXPECT_EQ(event.events, READ | WRITE);
    tokens.push_back(event.token);
  }
  EXPECT_THAT(tokens,
              ::testing::UnorderedElementsAre(FD_SETSIZE - 1, FD_SETSIZE, 4095, 4096, 19000));
  for (const UniqueFd& fd : high) EXPECT_TRUE(poller->remove(fd.get()).ok());
  EXPECT_TRUE(poller->wait(nanoseconds(0)).events.empty());
}

TEST_F(SelectSets, AHighFdThatIsClosedWithoutRemovalLeavesTheOthersAlone) {
  if (kSelectFdLimit <= FD_SETSIZE || !allowed(5000)) GTEST_SKIP() << "no such number here";
  std::unique_ptr<Poller> poller = make(kSelectFdLimit);
  FdPair pair = socket_pair();
  write_all(pair.b.get(), "x");
  UniqueFd closed = at(5000, pair.a.get());
  UniqueFd open = at(4000, pair.a.get());
  ASSERT_TRUE(poller->add(5000, READ, 5000, Trigger::kLevel).ok());
  ASSERT_TRUE(poller->add(4000, READ, 4000, Trigger::kLevel).ok());
  closed.reset();
  poller->wait(nanoseconds(0));  // finds that one out
  const Poller::WaitResult result = poller->wait(nanoseconds(0));
  ASSERT_EQ(result.events.size(), 1u);
  EXPECT_EQ(result.events[0].token, 4000u);
}

TEST_F(SelectSets, RefuseFdsPastTheLimitOfAPlatformWithShortSetsAndSayWhatToDo) {
  std::unique_ptr<Poller> poller = make(FD_SETSIZE);
  FdPair pair = socket_pair();
  write_all(pair.b.get(), "x");
  UniqueFd last = at(FD_SETSIZE - 1, pair.a.get());
  EXPECT_TRUE(poller->add(last.get(), READ, 1, Trigger::kLevel).ok());
  if (!allowed(4096)) GTEST_SKIP() << "no number past FD_SETSIZE is allowed here";
  for (int number : {FD_SETSIZE, FD_SETSIZE + 1, 4096}) {
    UniqueFd high = at(number, pair.a.get());
    const absl::Status status = poller->add(number, READ, 2, Trigger::kLevel);
    EXPECT_EQ(status.code(), StatusCode::kResourceExhausted);
    EXPECT_THAT(std::string(status.message()), HasSubstr("fd " + std::to_string(number)));
    EXPECT_THAT(std::string(status.message()), HasSubstr("FD_SETSIZE"));
    EXPECT_THAT(std::string(status.message()), HasSubstr("another backend"));
    EXPECT_EQ(poller->modify(number, READ, 2, Trigger::kLevel).code(), StatusCode::kNotFound);
    EXPECT_TRUE(poller->remove(number).ok());
  }
  EXPECT_EQ(poller->wait(nanoseconds(0)).events.size(), 1u) << "the one below is still watched";
}

TEST_F(SelectSets, WithoutANumberForItsPipeThePollerIsAnErrorAndLeavesNothingOpen) {
  const int before = testing::count_open_fds();
  FdPair taken = pipe_pair();  // takes 0 and 1 past any limit of 1
  EXPECT_EQ(SelectPoller::create_with_limit(1).status().code(), StatusCode::kResourceExhausted);
  taken = {};
  EXPECT_EQ(testing::count_open_fds(), before);
}

TEST_F(SelectSets, AreScannedFromWhereTheLastWaitEndedWhereverTheyHaveGaps) {
  // The scan leaps over empty words: it must neither miss an fd nor see it twice.
  if (kSelectFdLimit <= FD_SETSIZE || !allowed(3000)) GTEST_SKIP() << "no such number here";
  std::unique_ptr<Poller> poller = make(kSelectFdLimit);
  FdPair pair = socket_pair();
  write_all(pair.b.get(), "x");
  std::vector<UniqueFd> fds;
  std::vector<uint64_t> all;
  for (int number = 2000; number < 3000; number += number % 7 == 0 ? 61 : 1) {
    fds.push_back(at(number, pair.a.get()));
    ASSERT_TRUE(poller->add(number, READ, number, Trigger::kLevel).ok());
    all.push_back(number);
  }
  for (int round = 0; round < 3; ++round) {
    std::vector<uint64_t> seen;
    for (const Poller::Event& event : poller->wait(nanoseconds(0)).events)
      seen.push_back(event.token);
    EXPECT_THAT(seen, ::testing::UnorderedElementsAreArray(all));
  }
}

}  // namespace
}  // namespace gyre::internal
