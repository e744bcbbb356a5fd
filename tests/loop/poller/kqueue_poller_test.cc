// What the kqueue backend sends to the kernel and when, and what it makes of the kernel's errors.
// What its user sees is in poller_conformance_test.cc.

#include <sys/event.h>

#include <chrono>
#include <memory>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "gyre/loop/poller/poller.h"
#include "gyre/tests/support/kqueue_backend.h"
#include "gyre/tests/support/kqueue_shim/fault.h"
#include "gyre/tests/support/sockets.h"

namespace gyre::testing {
namespace {

using absl::StatusCode;
using std::chrono::nanoseconds;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;

constexpr uint32_t READ = PollEvents::kRead;
constexpr uint32_t WRITE = PollEvents::kWrite;

class KqueuePollerTest : public ::testing::Test {
 protected:
  using Events = std::vector<std::pair<uint64_t, uint32_t>>;

  KqueuePollerTest() {
    absl::StatusOr<std::unique_ptr<Poller>> poller = create_kqueue_poller();
    EXPECT_TRUE(poller.ok()) << poller.status();
    if (poller.ok()) poller_ = *std::move(poller);
  }

  absl::Status add(int fd, uint32_t interest, uint64_t token) {
    return poller_->add(fd, interest, token, Trigger::kLevel);
  }
  absl::Status modify(int fd, uint32_t interest, uint64_t token) {
    return poller_->modify(fd, interest, token, Trigger::kLevel);
  }
  Events wait() {
    const Poller::WaitResult result = poller_->wait(nanoseconds(0));
    EXPECT_EQ(result.error, 0);
    Events events;
    for (const Poller::Event& event : result.events) events.emplace_back(event.token, event.events);
    return events;
  }
  // kevent(2) calls that `f` makes.
  template <class F>
  static int calls_of(F f) {
    const int before = kevent_calls();
    f();
    return kevent_calls() - before;
  }

  std::unique_ptr<Poller> poller_;
};

TEST_F(KqueuePollerTest, RemovalsAndDroppedInterestsGoWithTheNextWaitInItsOneCall) {
  std::vector<FdPair> pairs;
  for (int i = 0; i < 100; ++i) {
    pairs.push_back(socket_pair());
    ASSERT_TRUE(add(pairs[i].a.get(), READ | WRITE, i).ok());
  }
  EXPECT_EQ(calls_of([&] {
              for (int i = 1; i < 100; ++i) EXPECT_TRUE(poller_->remove(pairs[i].a.get()).ok());
              EXPECT_TRUE(modify(pairs[0].a.get(), READ, 0).ok());
            }),
            0);
  EXPECT_EQ(calls_of([&] { EXPECT_THAT(wait(), IsEmpty()); }), 1);
}

TEST_F(KqueuePollerTest, AChangeThatIsTakenBackBeforeTheWaitIsNotSent) {
  FdPair pair = socket_pair();
  ASSERT_TRUE(add(pair.a.get(), READ | WRITE, 1).ok());
  EXPECT_EQ(calls_of([&] {
              EXPECT_TRUE(modify(pair.a.get(), READ, 1).ok());
              EXPECT_TRUE(modify(pair.a.get(), READ | WRITE, 1).ok());
            }),
            0);
  EXPECT_THAT(wait(), ElementsAre(Pair(1, WRITE)));
}

TEST_F(KqueuePollerTest, AnErrorInTheChangeListLeavesTheChangesBehindItAndTheEventsStanding) {
  FdPair closed = socket_pair(), dropped = socket_pair(), ready = socket_pair();
  ASSERT_TRUE(add(closed.a.get(), READ | WRITE, 1).ok());
  ASSERT_TRUE(add(dropped.a.get(), READ | WRITE, 2).ok());
  ASSERT_TRUE(add(ready.a.get(), READ, 3).ok());
  write_all(ready.b.get(), "x");
  const int number = closed.a.get();
  closed.a.reset();
  EXPECT_TRUE(poller_->remove(number).ok());  // EBADF in the list, twice
  EXPECT_TRUE(modify(dropped.a.get(), READ, 2).ok());
  EXPECT_EQ(calls_of([&] { EXPECT_THAT(wait(), ElementsAre(Pair(3, READ))); }), 2)
      << "the errors come instead of the events";
  EXPECT_EQ(calls_of([&] { EXPECT_THAT(wait(), ElementsAre(Pair(3, READ))); }), 1)
      << "what failed is not sent again";
}

TEST_F(KqueuePollerTest, TheRemovalOfANumberThatIsAnotherFileByThenIsNoError) {
  FdPair first = socket_pair(), second = socket_pair();
  ASSERT_TRUE(add(first.a.get(), READ, 1).ok());
  const int number = first.a.get();
  EXPECT_TRUE(poller_->remove(number).ok());
  ASSERT_EQ(::dup2(second.a.get(), number), number);  // closes, and takes the number
  write_all(second.b.get(), "x");
  EXPECT_THAT(wait(), IsEmpty());  // ENOENT
  ASSERT_TRUE(add(number, READ, 2).ok());
  EXPECT_THAT(wait(), ElementsAre(Pair(2, READ)));
}

TEST_F(KqueuePollerTest, AnAdditionThatTheKernelRefusesInPartIsTheCallersErrorAndLeavesNothing) {
  FdPair pair = socket_pair();
  fail_next_kevent_add(EVFILT_WRITE, ENOMEM);
  EXPECT_EQ(add(pair.a.get(), READ | WRITE, 1).code(), StatusCode::kResourceExhausted);
  write_all(pair.b.get(), "x");
  EXPECT_THAT(wait(), IsEmpty()) << "the half that was accepted is gone, too";
  EXPECT_TRUE(add(pair.a.get(), READ | WRITE, 2).ok());
  EXPECT_THAT(wait(), ElementsAre(Pair(2, READ | WRITE)));
}

TEST_F(KqueuePollerTest, AChangeThatTheKernelRefusesIsTheCallersErrorAndTheOldInterestStays) {
  FdPair pair = socket_pair();
  ASSERT_TRUE(add(pair.a.get(), READ, 1).ok());
  fail_next_kevent_add(EVFILT_WRITE, ENOMEM);
  EXPECT_EQ(modify(pair.a.get(), WRITE, 2).code(), StatusCode::kResourceExhausted);
  EXPECT_THAT(wait(), IsEmpty());
  write_all(pair.b.get(), "x");
  EXPECT_THAT(wait(), ElementsAre(Pair(1, READ)));
  EXPECT_TRUE(modify(pair.a.get(), WRITE, 2).ok());
  EXPECT_THAT(wait(), ElementsAre(Pair(2, WRITE)));
}

}  // namespace
}  // namespace gyre::testing
