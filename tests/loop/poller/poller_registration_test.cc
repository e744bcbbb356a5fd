// The contract of poller.h, once for each backend: what is watched, and what is not any more.
// Nothing in here asks which one it is.

#include <climits>
#include <cstdio>
#include <memory>
#include <set>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "gyre/loop/poller/poller.h"
#include "gyre/tests/loop/poller/poller_conformance.h"
#include "gyre/tests/support/event.h"
#include "gyre/tests/support/sockets.h"

namespace gyre::testing {
namespace {

using absl::StatusCode;
using std::chrono::milliseconds;
using std::chrono::nanoseconds;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Key;
using ::testing::Pair;

constexpr uint32_t NONE = PollEvents::kNone;
constexpr uint32_t READ = PollEvents::kRead;
constexpr uint32_t WRITE = PollEvents::kWrite;

INSTANTIATE_TEST_SUITE_P(Pollers, PollerConformance, ::testing::ValuesIn(all_pollers()),
                         [](const auto& info) { return info.param.name; });

// ---- Registration

TEST_P(PollerConformance, ReportsWhatIsWatchedUnderTheTokenThatWasGiven) {
  FdPair pair = socket_pair();
  ASSERT_TRUE(add(pair.a.get(), READ, 0xfedcba9876543210).ok());
  expect_silence();
  write_all(pair.b.get(), "x");
  EXPECT_THAT(wait(), ElementsAre(Pair(0xfedcba9876543210, READ)));
  ASSERT_TRUE(modify(pair.a.get(), WRITE, 0).ok());
  EXPECT_THAT(wait(), ElementsAre(Pair(0, WRITE)));
  ASSERT_TRUE(modify(pair.a.get(), READ, 7).ok());
  EXPECT_THAT(wait(), ElementsAre(Pair(7, READ)));
  ASSERT_TRUE(poller_->remove(pair.a.get()).ok());
  expect_silence();
}

TEST_P(PollerConformance, AnFdIsAddedOnceAndTheFirstRegistrationStays) {
  FdPair pair = socket_pair();
  ASSERT_TRUE(add(pair.a.get(), READ, 1).ok());
  EXPECT_EQ(add(pair.a.get(), WRITE, 2).code(), StatusCode::kAlreadyExists);
  EXPECT_EQ(add(pair.a.get(), READ, 3).code(), StatusCode::kAlreadyExists);
  expect_silence();
  write_all(pair.b.get(), "x");
  EXPECT_THAT(wait(), ElementsAre(Pair(1, READ)));
}

TEST_P(PollerConformance, AnFdWithoutInterestCountsAsAdded) {
  FdPair pair = socket_pair();
  ASSERT_TRUE(add(pair.a.get(), NONE, 1).ok());
  EXPECT_EQ(add(pair.a.get(), READ, 2).code(), StatusCode::kAlreadyExists);
  write_all(pair.b.get(), "x");
  expect_silence();
  ASSERT_TRUE(modify(pair.a.get(), READ, 1).ok());
  EXPECT_THAT(wait(), ElementsAre(Pair(1, READ)));
}

TEST_P(PollerConformance, BadFdsAreRefusedWhateverTheInterest) {
  for (const uint32_t interest : {NONE, READ, WRITE, READ | WRITE}) {
    for (const int fd : {-1, INT_MIN, INT_MAX, closed_fd()}) {
      EXPECT_EQ(add(fd, interest, 1).code(), StatusCode::kInvalidArgument) << fd;
    }
  }
  expect_silence();
}

TEST_P(PollerConformance, AFileIsRefusedOrAlwaysReady) {
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::tmpfile(), &std::fclose);
  ASSERT_NE(file, nullptr);
  const absl::Status status = add(fileno(file.get()), READ, 1);
  if (!status.ok()) {
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument) << status;
    EXPECT_THAT(wait(), IsEmpty());
  } else {
    EXPECT_THAT(wait(), ElementsAre(Pair(1, READ)));
    EXPECT_THAT(wait(), ElementsAre(Pair(1, READ)));
  }
}

TEST_P(PollerConformance, WhatWasNotAddedIsNotModifiedAndItsRemovalIsNoError) {
  FdPair pair = socket_pair();
  EXPECT_EQ(modify(pair.a.get(), READ, 1).code(), StatusCode::kNotFound);
  EXPECT_FALSE(modify(-1, READ, 1).ok());
  EXPECT_FALSE(modify(INT_MAX, READ, 1).ok());
  EXPECT_TRUE(poller_->remove(pair.a.get()).ok());
  EXPECT_TRUE(poller_->remove(-1).ok());
  EXPECT_TRUE(poller_->remove(INT_MAX).ok());
  write_all(pair.b.get(), "x");
  expect_silence();
  ASSERT_TRUE(add(pair.a.get(), READ, 1).ok());
  ASSERT_TRUE(poller_->remove(pair.a.get()).ok());
  EXPECT_EQ(modify(pair.a.get(), READ, 1).code(), StatusCode::kNotFound);
  EXPECT_TRUE(poller_->remove(pair.a.get()).ok());
}

TEST_P(PollerConformance, AnFdIsAddedAgainAfterItsRemoval) {
  FdPair pair = socket_pair();
  write_all(pair.b.get(), "x");
  for (uint64_t token = 1; token < 5; ++token) {
    ASSERT_TRUE(add(pair.a.get(), token % 2 ? READ : WRITE, token).ok());
    if (token % 3 == 0) {
      EXPECT_THAT(wait(), ElementsAre(Pair(token, READ)));
    }
    ASSERT_TRUE(poller_->remove(pair.a.get()).ok());
  }
  expect_silence();
  ASSERT_TRUE(add(pair.a.get(), READ, 9).ok());
  EXPECT_THAT(wait(), ElementsAre(Pair(9, READ)));
}

TEST_P(PollerConformance, ANumberThatIsReusedBeforeTheNextWaitBelongsToTheNewFile) {
  // A handler that closes one connection and accepts the next: one number, no wait between them.
  FdPair older = socket_pair(), newer = socket_pair();
  write_all(older.b.get(), "x");
  const int number = older.a.get();
  ASSERT_TRUE(add(number, READ | WRITE, 1).ok());
  EXPECT_THAT(wait(), ElementsAre(Pair(1, READ | WRITE)));
  ASSERT_TRUE(poller_->remove(number).ok());
  older.a.reset();
  ASSERT_EQ(::dup2(newer.a.get(), number), number);
  UniqueFd reused(number);
  ASSERT_TRUE(add(number, READ, 2).ok());
  expect_silence();
  write_all(newer.b.get(), "y");
  EXPECT_THAT(wait(), ElementsAre(Pair(2, READ)));
}

TEST_P(PollerConformance, AnInterestChangesAnyNumberOfTimesBetweenTwoWaits) {
  FdPair pair = socket_pair();
  write_all(pair.b.get(), "x");
  ASSERT_TRUE(add(pair.a.get(), READ, 1).ok());
  for (const uint32_t interest : {WRITE, NONE, READ | WRITE, READ, WRITE, READ | WRITE}) {
    ASSERT_TRUE(modify(pair.a.get(), interest, 1).ok());
  }
  EXPECT_THAT(wait(), ElementsAre(Pair(1, READ | WRITE)));
  for (const uint32_t interest : {NONE, READ, NONE, WRITE}) {
    ASSERT_TRUE(modify(pair.a.get(), interest, 1).ok());
  }
  EXPECT_THAT(wait(), ElementsAre(Pair(1, WRITE)));
}

TEST_P(PollerConformance, FdsPastFdSetSizeWorkOrAreRefused) {
  FdPair pair = socket_pair();
  write_all(pair.b.get(), "x");
  for (int number : {FD_SETSIZE, 4096, 19000}) {
    UniqueFd high(::dup2(pair.a.get(), number));
    if (!high) GTEST_SKIP() << "no such number is allowed here";
    const absl::Status status = add(high.get(), READ, number);
    if (status.ok()) {
      EXPECT_THAT(wait(), ElementsAre(Pair(number, READ)));
      EXPECT_TRUE(poller_->remove(number).ok());
    } else {
      EXPECT_EQ(status.code(), StatusCode::kResourceExhausted) << status;
      EXPECT_THAT(wait(), IsEmpty());
    }
  }
}

// ---- Fds that were closed without removal

TEST_P(PollerConformance, AnFdThatWasClosedWithoutRemovalDisturbsNobody) {
  FdPair closed = socket_pair(), idle = socket_pair(), other = socket_pair();
  write_all(closed.b.get(), "x");
  write_all(other.b.get(), "x");
  ASSERT_TRUE(add(closed.a.get(), READ | WRITE, 1).ok());
  ASSERT_TRUE(add(idle.a.get(), READ, 2).ok());
  ASSERT_TRUE(add(other.a.get(), READ, 3).ok());
  EXPECT_THAT(wait(), Contains(Key(1)));
  const int closed_number = closed.a.get(), idle_number = idle.a.get();
  closed.a.reset();
  idle.a.reset();
  EXPECT_EQ(next(3), READ);
  EXPECT_THAT(wait(), ElementsAre(Pair(3, READ)));
  read_available(other.a.get());
  EXPECT_GE(idle_wait(milliseconds(20)), milliseconds(20)) << "it spins";
  EXPECT_TRUE(poller_->remove(closed_number).ok());
  EXPECT_TRUE(poller_->remove(idle_number).ok());
  EXPECT_GE(idle_wait(milliseconds(20)), milliseconds(20));
  write_all(other.b.get(), "y");
  EXPECT_EQ(next(3), READ);
}

TEST_P(PollerConformance, TheNumberOfAnFdThatWasClosedBeforeItsRemovalIsFree) {
  FdPair pair = socket_pair(), other = socket_pair();
  ASSERT_TRUE(add(pair.a.get(), READ, 1).ok());
  const int number = pair.a.get();
  pair.a.reset();
  ASSERT_TRUE(poller_->remove(number).ok());
  ASSERT_EQ(::dup2(other.a.get(), number), number);
  UniqueFd reused(number);
  write_all(other.b.get(), "x");
  expect_silence();
  ASSERT_TRUE(add(number, READ, 2).ok());
  EXPECT_THAT(wait(), ElementsAre(Pair(2, READ)));
}

TEST_P(PollerConformance, ManyRemovalsOfClosedFdsAtOnceDisturbNobody) {
  FdPair other = socket_pair();
  ASSERT_TRUE(add(other.a.get(), READ, 0).ok());
  std::vector<UniqueFd> copies;
  for (uint64_t token = 1; token <= 700; ++token) {
    copies.emplace_back(::dup(other.b.get()));
    ASSERT_TRUE(add(copies.back().get(), WRITE, token).ok()) << token;
  }
  std::vector<int> numbers;
  for (const UniqueFd& copy : copies) numbers.push_back(copy.get());
  for (const int number : numbers) ASSERT_TRUE(poller_->remove(number).ok());
  copies.clear();
  write_all(other.b.get(), "x");
  EXPECT_THAT(wait(), ElementsAre(Pair(0, READ)));
  read_available(other.a.get());
  EXPECT_GE(idle_wait(milliseconds(10)), milliseconds(10));
}

TEST_P(PollerConformance, AResetForgetsEverythingButTheWakeUp) {
  FdPair pair = socket_pair();
  write_all(pair.b.get(), "x");
  ASSERT_TRUE(add(pair.a.get(), READ, 1).ok());
  const absl::Status status = poller_->reset();
  if (absl::IsUnimplemented(status)) GTEST_SKIP() << "not needed: every registration is in reach";
  ASSERT_TRUE(status.ok()) << status;
  expect_silence();
  poller_->wake();
  wait(kDeadline);
  EXPECT_TRUE(woken_);
  ASSERT_TRUE(add(pair.a.get(), READ, 2).ok());
  EXPECT_THAT(wait(), ElementsAre(Pair(2, READ)));
}

// ---- The poller's own fds

TEST_P(PollerConformance, APollerLeavesNoFdBehind) {
  poller_.reset();
  const int before = count_open_fds();
  for (int i = 0; i < 10; ++i) {
    absl::StatusOr<std::unique_ptr<Poller>> poller = GetParam().make();
    ASSERT_TRUE(poller.ok());
    (*poller)->wake();
    (*poller)->wait(nanoseconds(0));
  }
  EXPECT_EQ(count_open_fds(), before);
}

TEST_P(PollerConformance, ItsOwnFdsAreNotForProgramsThatAreExecuted) {
  poller_.reset();
  std::set<int> before;
  for (int fd = 0; fd < 1000; ++fd) {
    if (is_open(fd)) before.insert(fd);
  }
  absl::StatusOr<std::unique_ptr<Poller>> poller = GetParam().make();
  ASSERT_TRUE(poller.ok());
  for (int fd = 0; fd < 1000; ++fd) {
    if (is_open(fd) && !before.contains(fd)) {
      EXPECT_EQ(::fcntl(fd, F_GETFD), FD_CLOEXEC) << fd;
    }
  }
}

}  // namespace
}  // namespace gyre::testing
