// The contract of poller.h, once for each backend. Nothing in here asks which one it is.

#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <climits>
#include <cstdio>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "gyre/loop/poller/poller.h"
#include "gyre/loop/poller/poller_factory.h"
#include "gyre/tests/support/event.h"
#include "gyre/tests/support/kqueue_backend.h"
#include "gyre/tests/support/sockets.h"

namespace gyre::testing {
namespace {

using absl::StatusCode;
using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::nanoseconds;
using Clock = std::chrono::steady_clock;
using ::testing::AnyOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Key;
using ::testing::Not;
using ::testing::Pair;

constexpr uint32_t NONE = PollEvents::kNone;
constexpr uint32_t READ = PollEvents::kRead;
constexpr uint32_t WRITE = PollEvents::kWrite;
constexpr uint32_t ERROR = PollEvents::kError;
constexpr uint32_t PEER_ENDED = PollEvents::kPeerEnded;

struct PollerMaker {
  std::string name;
  std::function<absl::StatusOr<std::unique_ptr<Poller>>()> make;
};

void PrintTo(const PollerMaker& maker, std::ostream* out) { *out << maker.name; }

std::vector<PollerMaker> all_pollers() {
  std::vector<PollerMaker> makers{{"kqueue", create_kqueue_poller}};
  for (const Backend backend : available_backends()) {
    if (backend == Backend::kKqueue) continue;
    makers.push_back({std::string(to_string(backend)), [=] { return create_poller(backend); }});
  }
  return makers;
}

// The poller that the signal handler wakes.
std::atomic<Poller*> g_signalled{nullptr};

class PollerConformance : public ::testing::TestWithParam<PollerMaker> {
 protected:
  using Events = std::map<uint64_t, uint32_t>;  // by token

  PollerConformance() {
    absl::StatusOr<std::unique_ptr<Poller>> poller = GetParam().make();
    EXPECT_TRUE(poller.ok()) << poller.status();
    if (poller.ok()) poller_ = std::move(*poller);
  }

  absl::Status add(int fd, uint32_t interest, uint64_t token, Trigger trigger = Trigger::kLevel) {
    absl::Status status = poller_->add(fd, interest, token, trigger);
    if (status.ok()) interest_[token] = interest;
    return status;
  }
  absl::Status modify(int fd, uint32_t interest, uint64_t token,
                      Trigger trigger = Trigger::kLevel) {
    absl::Status status = poller_->modify(fd, interest, token, trigger);
    if (status.ok()) interest_[token] = interest;
    return status;
  }

  // One wait: what is reported, as far as it was asked for.
  Events wait(nanoseconds timeout = nanoseconds(0)) {
    const Poller::WaitResult result = poller_->wait(timeout);
    EXPECT_EQ(result.error, 0);
    EXPECT_LE(result.events.size(), static_cast<size_t>(Poller::kMaxEventsPerWait));
    woken_ = result.woken;
    Events events;
    for (const Poller::Event& event : result.events) {
      EXPECT_TRUE(interest_.contains(event.token)) << "a token that was never given";
      EXPECT_FALSE(events.contains(event.token)) << "two events for one fd in one wait";
      const uint32_t asked_for = interest_[event.token];
      if (!(event.events & ERROR)) {
        EXPECT_EQ(event.events & ~asked_for, NONE) << "not asked for";
      }
      events[event.token] = event.events & (asked_for | ERROR);
    }
    return events;
  }

  // Waits until there is something of `token`.
  uint32_t next(uint64_t token) {
    const auto deadline = Clock::now() + kDeadline;
    while (Clock::now() < deadline) {
      const Events events = wait(milliseconds(10));
      if (auto it = events.find(token); it != events.end()) return it->second;
    }
    ADD_FAILURE() << "nothing came of token " << token;
    return NONE;
  }

  // Waits until `token` has these events, at least.
  bool comes(uint64_t token, uint32_t wanted) {
    const auto deadline = Clock::now() + kDeadline;
    while (Clock::now() < deadline) {
      const Events events = wait(milliseconds(10));
      if (auto it = events.find(token); it != events.end() && (it->second & wanted) == wanted) {
        return true;
      }
    }
    return false;
  }

  // That nothing is reported, as often as it is asked.
  void expect_silence() {
    for (int i = 0; i < 3; ++i) EXPECT_THAT(wait(), IsEmpty());
  }

  // How long a wait takes in which nothing happens.
  nanoseconds idle_wait(nanoseconds timeout) {
    const auto start = Clock::now();
    EXPECT_THAT(wait(timeout), IsEmpty());
    return Clock::now() - start;
  }

  std::unique_ptr<Poller> poller_;
  std::map<uint64_t, uint32_t> interest_;
  bool woken_ = false;
};

INSTANTIATE_TEST_SUITE_P(Pollers, PollerConformance, ::testing::ValuesIn(all_pollers()),
                         [](const auto& info) { return info.param.name; });

// The ends of a connection that is reset: `a` is told of it.
FdPair reset_pair() {
  FdPair pair = tcp_pair();
  const linger at_once{1, 0};
  EXPECT_EQ(::setsockopt(pair.b.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once)), 0);
  return pair;
}

// A port of loopback on which nobody listens, while `holder` is open.
sockaddr_in unused_port(UniqueFd& holder) {
  holder.reset(::socket(AF_INET, SOCK_STREAM, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = ::htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  EXPECT_EQ(::bind(holder.get(), reinterpret_cast<sockaddr*>(&address), size), 0);
  EXPECT_EQ(::getsockname(holder.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
  return address;
}

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

// ---- Readiness

TEST_P(PollerConformance, ALevelIsReportedUntilItIsGone) {
  FdPair pair = socket_pair();
  ASSERT_TRUE(add(pair.a.get(), READ, 1).ok());
  write_all(pair.b.get(), "xy");
  for (int i = 0; i < 3; ++i) EXPECT_THAT(wait(), ElementsAre(Pair(1, READ)));
  char byte;
  ASSERT_EQ(::read(pair.a.get(), &byte, 1), 1);
  EXPECT_THAT(wait(), ElementsAre(Pair(1, READ))) << "one byte is left";
  EXPECT_EQ(read_available(pair.a.get()), "y");
  expect_silence();
  write_all(pair.b.get(), "z");
  EXPECT_THAT(wait(), ElementsAre(Pair(1, READ)));
}

TEST_P(PollerConformance, ReadAndWriteComeInOneEvent) {
  FdPair pair = socket_pair();
  ASSERT_TRUE(add(pair.a.get(), READ | WRITE, 1).ok());
  EXPECT_THAT(wait(), ElementsAre(Pair(1, WRITE)));
  write_all(pair.b.get(), "x");
  EXPECT_THAT(wait(), ElementsAre(Pair(1, READ | WRITE)));
  fill(pair.a.get());
  EXPECT_THAT(wait(), ElementsAre(Pair(1, READ)));
  read_available(pair.a.get());
  expect_silence();
  read_available(pair.b.get());
  EXPECT_THAT(wait(), ElementsAre(Pair(1, WRITE)));
}

TEST_P(PollerConformance, AListenerIsReadableWhenSomebodyConnects) {
  UniqueFd listener;
  const sockaddr_in address = unused_port(listener);
  ASSERT_EQ(::listen(listener.get(), 4), 0);
  ASSERT_TRUE(add(listener.get(), READ, 1).ok());
  expect_silence();
  UniqueFd client(::socket(AF_INET, SOCK_STREAM, 0));
  ASSERT_EQ(::connect(client.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)),
            0);
  EXPECT_EQ(next(1), READ);
  UniqueFd accepted(::accept(listener.get(), nullptr, nullptr));
  EXPECT_TRUE(accepted);
  expect_silence();
}

TEST_P(PollerConformance, AConnectionIsWritableOnceItStands) {
  UniqueFd listener;
  const sockaddr_in address = unused_port(listener);
  ASSERT_EQ(::listen(listener.get(), 4), 0);
  UniqueFd client(::socket(AF_INET, SOCK_STREAM, 0));
  make_nonblocking(client.get());
  static_cast<void>(
      ::connect(client.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)));
  ASSERT_TRUE(add(client.get(), WRITE, 1).ok());
  EXPECT_EQ(next(1), WRITE);
}

TEST_P(PollerConformance, ARefusedConnectIsWriteAndErrorAndTheErrnoIsStillThere) {
  UniqueFd holder;
  const sockaddr_in address = unused_port(holder);
  UniqueFd client(::socket(AF_INET, SOCK_STREAM, 0));
  make_nonblocking(client.get());
  static_cast<void>(
      ::connect(client.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)));
  ASSERT_TRUE(add(client.get(), WRITE, 1).ok());
  EXPECT_EQ(next(1), WRITE | ERROR);
  int error = 0;
  socklen_t size = sizeof(error);
  ASSERT_EQ(::getsockopt(client.get(), SOL_SOCKET, SO_ERROR, &error, &size), 0);
  EXPECT_EQ(error, ECONNREFUSED);
}

TEST_P(PollerConformance, APeerThatSendsNoMoreIsReadAndNoError) {
  for (FdPair (*make)() : {&socket_pair, &tcp_pair}) {
    for (const uint32_t interest : {READ, READ | WRITE}) {
      FdPair pair = make();
      ASSERT_TRUE(add(pair.a.get(), interest, 1).ok());
      write_all(pair.b.get(), "last words");
      ASSERT_EQ(::shutdown(pair.b.get(), SHUT_WR), 0);
      EXPECT_TRUE(comes(1, READ));
      EXPECT_EQ(next(1), interest);
      EXPECT_EQ(read_available(pair.a.get()), "last words");
      EXPECT_EQ(next(1), interest) << "and so is the end itself";
      write_all(pair.a.get(), "an answer");
      EXPECT_EQ(next(1), interest);
      ASSERT_TRUE(poller_->remove(pair.a.get()).ok());
    }
  }
}

TEST_P(PollerConformance, AWriterHearsNothingOfAPeerThatSendsNoMore) {
  for (FdPair (*make)() : {&socket_pair, &tcp_pair}) {
    FdPair pair = make();
    ASSERT_TRUE(add(pair.a.get(), WRITE, 1).ok());
    ASSERT_EQ(::shutdown(pair.b.get(), SHUT_WR), 0);
    for (int i = 0; i < 3; ++i) EXPECT_EQ(next(1), WRITE);
    ASSERT_TRUE(poller_->remove(pair.a.get()).ok());
  }
}

TEST_P(PollerConformance, WhoSendsNoMoreHimselfHasNoError) {
  for (FdPair (*make)() : {&socket_pair, &tcp_pair}) {
    FdPair pair = make();
    ASSERT_TRUE(add(pair.a.get(), READ | WRITE, 1).ok());
    ASSERT_EQ(::shutdown(pair.a.get(), SHUT_WR), 0);
    // Writing gives EPIPE at once, so it counts as writable.
    EXPECT_EQ(next(1), WRITE);
    write_all(pair.b.get(), "x");
    EXPECT_TRUE(comes(1, READ | WRITE));
    EXPECT_EQ(next(1), READ | WRITE);
    ASSERT_TRUE(poller_->remove(pair.a.get()).ok());
  }
}

TEST_P(PollerConformance, AConnectionThatEndedInBothDirectionsIsAnError) {
  for (const uint32_t interest : {READ, WRITE, READ | WRITE}) {
    FdPair pair = tcp_pair();
    write_all(pair.b.get(), "unread");
    ASSERT_TRUE(add(pair.a.get(), interest, 1).ok());
    ASSERT_EQ(::shutdown(pair.b.get(), SHUT_WR), 0);
    ASSERT_EQ(::shutdown(pair.a.get(), SHUT_WR), 0);
    EXPECT_TRUE(comes(1, interest | ERROR));
    EXPECT_EQ(next(1), interest | ERROR) << "as long as it lasts";
    EXPECT_EQ(read_available(pair.a.get()), "unread");
    EXPECT_EQ(next(1), interest | ERROR);
    ASSERT_TRUE(poller_->remove(pair.a.get()).ok());
  }
}

TEST_P(PollerConformance, AHangUpWithUnreadDataIsReadAndErrorAndTheDataIsStillThere) {
  for (const uint32_t interest : {READ, WRITE, READ | WRITE}) {
    FdPair pair = socket_pair();
    write_all(pair.b.get(), "unread");
    ASSERT_TRUE(add(pair.a.get(), interest, 1).ok());
    pair.b.reset();
    EXPECT_EQ(next(1), interest | ERROR);
    EXPECT_EQ(read_available(pair.a.get()), "unread");
    EXPECT_EQ(next(1), interest | ERROR);
    ASSERT_TRUE(poller_->remove(pair.a.get()).ok());
  }
}

TEST_P(PollerConformance, AResetIsAnErrorToReadersAndWritersAndTheErrnoIsStillThere) {
  for (const uint32_t interest : {READ, WRITE, READ | WRITE}) {
    FdPair pair = reset_pair();
    ASSERT_TRUE(add(pair.a.get(), interest, 1).ok());
    pair.b.reset();
    EXPECT_TRUE(comes(1, interest | ERROR));
    char byte;
    EXPECT_EQ(::read(pair.a.get(), &byte, 1), -1);
    EXPECT_EQ(errno, ECONNRESET);
    EXPECT_EQ(next(1), interest | ERROR) << "the errno is gone, the connection too";
    ASSERT_TRUE(poller_->remove(pair.a.get()).ok());
  }
}

TEST_P(PollerConformance, AResetBeforeTheRegistrationIsReportedToo) {
  FdPair pair = reset_pair();
  pair.b.reset();
  ASSERT_TRUE(add(pair.a.get(), READ | WRITE, 1).ok());
  EXPECT_TRUE(comes(1, READ | WRITE | ERROR));
}

TEST_P(PollerConformance, APipeThatNobodyWritesIsReadAndError) {
  FdPair pipe = pipe_pair();
  ASSERT_TRUE(add(pipe.a.get(), READ, 1).ok());
  expect_silence();
  write_all(pipe.b.get(), "x");
  EXPECT_THAT(wait(), ElementsAre(Pair(1, READ)));
  pipe.b.reset();
  EXPECT_THAT(wait(), ElementsAre(Pair(1, READ | ERROR)));
  EXPECT_EQ(read_available(pipe.a.get()), "x");
  for (int i = 0; i < 3; ++i) EXPECT_THAT(wait(), ElementsAre(Pair(1, READ | ERROR)));
}

TEST_P(PollerConformance, APipeThatNobodyReadsIsWriteAndErrorAsLongAsItIsWatched) {
  FdPair pipe = pipe_pair();
  ASSERT_TRUE(add(pipe.b.get(), WRITE, 1).ok());
  EXPECT_THAT(wait(), ElementsAre(Pair(1, WRITE)));
  fill(pipe.b.get());
  expect_silence();
  pipe.a.reset();
  for (int i = 0; i < 4; ++i) EXPECT_THAT(wait(), ElementsAre(Pair(1, WRITE | ERROR))) << i;
  ASSERT_TRUE(modify(pipe.b.get(), NONE, 1).ok());
  wait();  // an error may come once without an interest
  expect_silence();
  ASSERT_TRUE(modify(pipe.b.get(), WRITE, 1).ok());
  EXPECT_THAT(wait(), ElementsAre(Pair(1, WRITE | ERROR)));
  ASSERT_TRUE(poller_->remove(pipe.b.get()).ok());
  expect_silence();
}

TEST_P(PollerConformance, APipeThatNobodyReadsAnyMoreMayBeAdded) {
  FdPair pipe = pipe_pair(), other = socket_pair();
  pipe.a.reset();
  ASSERT_TRUE(add(pipe.b.get(), WRITE, 1).ok());
  ASSERT_TRUE(add(other.a.get(), WRITE, 2).ok());
  for (int i = 0; i < 4; ++i) {
    EXPECT_THAT(wait(milliseconds(10)), ElementsAre(Pair(1, WRITE | ERROR), Pair(2, WRITE))) << i;
  }
  ASSERT_TRUE(poller_->remove(pipe.b.get()).ok());
  EXPECT_THAT(wait(), ElementsAre(Pair(2, WRITE)));
}

TEST_P(PollerConformance, APendingErrorOfADatagramSocketWakesItsReader) {
  UniqueFd holder(::socket(AF_INET, SOCK_DGRAM, 0)), sender(::socket(AF_INET, SOCK_DGRAM, 0));
  make_nonblocking(sender.get());
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = ::htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  ASSERT_EQ(::bind(holder.get(), generic, size), 0);
  ASSERT_EQ(::getsockname(holder.get(), generic, &size), 0);
  ASSERT_EQ(::connect(sender.get(), generic, size), 0);
  holder.reset();
  ASSERT_TRUE(add(sender.get(), READ, 1).ok());
  ASSERT_EQ(::send(sender.get(), "x", 1, 0), 1);
  // kqueue has no word for an error that is no end: READ alone is right, too.
  EXPECT_THAT(next(1), AnyOf(READ, READ | ERROR));
  char byte;
  EXPECT_EQ(::recv(sender.get(), &byte, 1, 0), -1);
  EXPECT_EQ(errno, ECONNREFUSED);
  expect_silence();
}

TEST_P(PollerConformance, WithoutInterestAnErrorComesOnceAtMost) {
  FdPair hung_up = socket_pair(), reset = reset_pair(), pipe = pipe_pair();
  ASSERT_TRUE(add(hung_up.a.get(), NONE, 1).ok());
  ASSERT_TRUE(add(reset.a.get(), NONE, 2).ok());
  ASSERT_TRUE(add(pipe.b.get(), NONE, 3).ok());
  write_all(hung_up.b.get(), "x");
  hung_up.b.reset();
  reset.b.reset();
  pipe.a.reset();
  std::map<uint64_t, int> times;
  for (int i = 0; i < 10; ++i) {
    for (const auto& [token, events] : wait(milliseconds(1))) {
      EXPECT_EQ(events, ERROR);
      EXPECT_EQ(++times[token], 1);
    }
  }
  EXPECT_GE(idle_wait(milliseconds(20)), milliseconds(20));
}

// ---- Edges

class PollerEdges : public PollerConformance {
 protected:
  void SetUp() override {
    if (!poller_->supports_edge()) GTEST_SKIP() << "levels only";
  }
};
INSTANTIATE_TEST_SUITE_P(Pollers, PollerEdges, ::testing::ValuesIn(all_pollers()),
                         [](const auto& info) { return info.param.name; });

TEST_P(PollerEdges, AnEdgeIsReportedOnceForEachArrivalReadOrNot) {
  FdPair pair = socket_pair();
  ASSERT_TRUE(add(pair.a.get(), READ | PEER_ENDED, 1, Trigger::kEdge).ok());
  expect_silence();
  for (int i = 0; i < 3; ++i) {
    write_all(pair.b.get(), "x");
    EXPECT_THAT(wait(), ElementsAre(Pair(1, READ)));
    expect_silence();
  }
  EXPECT_EQ(read_available(pair.a.get()), "xxx");
  expect_silence();
}

TEST_P(PollerEdges, WhatIsReadyBeforeTheRegistrationIsAnEdge) {
  FdPair pair = socket_pair();
  write_all(pair.b.get(), "x");
  ASSERT_TRUE(add(pair.a.get(), READ | WRITE | PEER_ENDED, 1, Trigger::kEdge).ok());
  EXPECT_THAT(wait(), ElementsAre(Pair(1, READ | WRITE)));
  expect_silence();
}

TEST_P(PollerEdges, AnEndOfThePeerComesAsPeerEnded) {
  for (FdPair (*make)() : {&socket_pair, &tcp_pair}) {
    FdPair pair = make();
    ASSERT_TRUE(add(pair.a.get(), READ | PEER_ENDED, 1, Trigger::kEdge).ok());
    expect_silence();
    ASSERT_EQ(::shutdown(pair.b.get(), SHUT_WR), 0);
    EXPECT_EQ(next(1), READ | PEER_ENDED);
    expect_silence();
    ASSERT_TRUE(poller_->remove(pair.a.get()).ok());
  }
}

TEST_P(PollerEdges, AnEndThatComesWithDataSaysSo) {
  for (FdPair (*make)() : {&socket_pair, &tcp_pair}) {
    FdPair pair = make();
    write_all(pair.b.get(), "last words");
    ASSERT_EQ(::shutdown(pair.b.get(), SHUT_WR), 0);
    ASSERT_TRUE(add(pair.a.get(), READ | WRITE | PEER_ENDED, 1, Trigger::kEdge).ok());
    EXPECT_TRUE(comes(1, READ | PEER_ENDED));
    EXPECT_EQ(read_available(pair.a.get()), "last words");
    ASSERT_TRUE(poller_->remove(pair.a.get()).ok());
  }
}

TEST_P(PollerEdges, AHangUpIsAnErrorAndIsReportedOnce) {
  FdPair pair = socket_pair();
  ASSERT_TRUE(add(pair.a.get(), READ | WRITE | PEER_ENDED, 1, Trigger::kEdge).ok());
  EXPECT_THAT(wait(), ElementsAre(Pair(1, WRITE)));
  expect_silence();
  pair.b.reset();
  EXPECT_EQ(next(1), READ | WRITE | ERROR | PEER_ENDED);
  expect_silence();
}

TEST_P(PollerEdges, AResetIsAnError) {
  FdPair pair = reset_pair();
  ASSERT_TRUE(add(pair.a.get(), READ | PEER_ENDED, 1, Trigger::kEdge).ok());
  pair.b.reset();
  EXPECT_TRUE(comes(1, READ | ERROR | PEER_ENDED));
  char byte;
  EXPECT_EQ(::read(pair.a.get(), &byte, 1), -1);
  EXPECT_EQ(errno, ECONNRESET);
}

TEST_P(PollerEdges, APipeThatNobodyReadsIsAnErrorOnce) {
  FdPair pipe = pipe_pair();
  ASSERT_TRUE(add(pipe.b.get(), WRITE, 1, Trigger::kEdge).ok());
  EXPECT_THAT(wait(), ElementsAre(Pair(1, WRITE)));
  pipe.a.reset();
  EXPECT_EQ(next(1), WRITE | ERROR);
  expect_silence();
}

TEST_P(PollerEdges, ModifyReportsWhatIsReadyAgain) {
  FdPair pair = socket_pair();
  write_all(pair.b.get(), "x");
  ASSERT_TRUE(add(pair.a.get(), READ, 1, Trigger::kEdge).ok());
  EXPECT_THAT(wait(), ElementsAre(Pair(1, READ)));
  expect_silence();
  ASSERT_TRUE(modify(pair.a.get(), READ, 2, Trigger::kEdge).ok());
  EXPECT_THAT(wait(), ElementsAre(Pair(2, READ)));
  expect_silence();
}

TEST_P(PollerEdges, ModifyTurnsAnEdgeIntoALevelAndBack) {
  FdPair pair = socket_pair();
  write_all(pair.b.get(), "x");
  ASSERT_TRUE(add(pair.a.get(), READ, 1, Trigger::kEdge).ok());
  EXPECT_THAT(wait(), ElementsAre(Pair(1, READ)));
  ASSERT_TRUE(modify(pair.a.get(), READ, 1, Trigger::kLevel).ok());
  for (int i = 0; i < 3; ++i) EXPECT_THAT(wait(), ElementsAre(Pair(1, READ)));
  ASSERT_TRUE(modify(pair.a.get(), READ, 1, Trigger::kEdge).ok());
  EXPECT_THAT(wait(), ElementsAre(Pair(1, READ)));
  expect_silence();
}

TEST_P(PollerEdges, RoomToWriteIsAnEdge) {
  FdPair pair = socket_pair();
  fill(pair.a.get());
  ASSERT_TRUE(add(pair.a.get(), WRITE, 1, Trigger::kEdge).ok());
  expect_silence();
  read_available(pair.b.get());
  EXPECT_EQ(next(1), WRITE);
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

// ---- More than a wait holds

TEST_P(PollerConformance, NobodyStarvesWhenMoreIsReadyThanAWaitHolds) {
  constexpr int kFds = Poller::kMaxEventsPerWait + 200;
  FdPair pair = socket_pair();
  write_all(pair.b.get(), "x");
  std::vector<UniqueFd> copies;
  for (int i = 0; i < kFds; ++i) {
    copies.emplace_back(::dup(pair.a.get()));
    ASSERT_TRUE(add(copies.back().get(), READ, i).ok());
  }
  std::map<uint64_t, int> times;
  constexpr int kWaits = 30;
  for (int i = 0; i < kWaits; ++i) {
    for (const auto& [token, events] : wait()) ++times[token];
  }
  EXPECT_EQ(times.size(), static_cast<size_t>(kFds));
  for (const auto& [token, count] : times) EXPECT_GE(count, kWaits / 3) << "token " << token;
}

TEST_P(PollerConformance, AFullWaitHasBothDirectionsOfAnFdInOneEventOrInTwoWaits) {
  constexpr int kFds = Poller::kMaxEventsPerWait - 100;
  FdPair pair = socket_pair();
  write_all(pair.b.get(), "x");
  std::vector<UniqueFd> copies;
  for (int i = 0; i < kFds; ++i) {
    copies.emplace_back(::dup(pair.a.get()));
    ASSERT_TRUE(add(copies.back().get(), READ | WRITE, i).ok());
  }
  std::map<uint64_t, uint32_t> seen;
  for (int i = 0; i < 3; ++i) {
    for (const auto& [token, events] : wait()) seen[token] |= events;
  }
  ASSERT_EQ(seen.size(), static_cast<size_t>(kFds));
  for (const auto& [token, events] : seen) EXPECT_EQ(events, READ | WRITE) << "token " << token;
}

// ---- Waiting

TEST_P(PollerConformance, AZeroTimeoutLooksOnce) {
  FdPair pair = socket_pair();
  ASSERT_TRUE(add(pair.a.get(), READ, 1).ok());
  EXPECT_LT(idle_wait(nanoseconds(0)), std::chrono::seconds(5));
}

TEST_P(PollerConformance, AWaitIsNeverOverBeforeItsTime) {
  FdPair pair = socket_pair();
  ASSERT_TRUE(add(pair.a.get(), READ, 1).ok());
  for (const nanoseconds timeout :
       {nanoseconds(1), nanoseconds(999), nanoseconds(1001), nanoseconds(50'001),
        nanoseconds(400'000), nanoseconds(999'999), nanoseconds(1'000'001), nanoseconds(1'500'500),
        nanoseconds(20'000'000)}) {
    for (int i = 0; i < 3; ++i) EXPECT_GE(idle_wait(timeout), timeout);
  }
}

TEST_P(PollerConformance, ATimeoutPastTheKernelsRangeIsNoError) {
  for (const nanoseconds timeout :
       {nanoseconds(std::chrono::hours(24 * 30)), nanoseconds(std::chrono::hours(24 * 365 * 100)),
        nanoseconds::max() - nanoseconds(1), nanoseconds::max()}) {
    std::thread waker([&] { poller_->wake(); });
    // A wake-up of the round before may be seen twice.
    wait(timeout);
    EXPECT_TRUE(woken_);
    waker.join();
    wait();
  }
}

TEST_P(PollerConformance, ANegativeTimeoutWaitsUntilSomethingComes) {
  FdPair pair = socket_pair();
  ASSERT_TRUE(add(pair.a.get(), READ, 1).ok());
  std::thread writer([&] { write_all(pair.b.get(), "x"); });
  EXPECT_THAT(wait(nanoseconds(-1)), ElementsAre(Pair(1, READ)));
  writer.join();
}

TEST_P(PollerConformance, SignalsEndAWaitWithoutAnErrorAndLoseNothing) {
  // A storm of EINTR: no error, no event lost, no change lost.
  struct sigaction action {};
  action.sa_handler = [](int) {};
  struct sigaction before {};
  ASSERT_EQ(::sigaction(SIGALRM, &action, &before), 0);
  const itimerval storm{{0, 500}, {0, 500}}, calm{};
  ASSERT_EQ(::setitimer(ITIMER_REAL, &storm, nullptr), 0);
  FdPair pair = socket_pair();
  for (int i = 0; i < 50; ++i) {
    ASSERT_TRUE(add(pair.a.get(), READ | WRITE, 1).ok());
    ASSERT_TRUE(modify(pair.a.get(), READ, 1).ok());
    wait(milliseconds(2));
    write_all(pair.b.get(), "x");
    EXPECT_EQ(next(1), READ);
    read_available(pair.a.get());
    ASSERT_TRUE(poller_->remove(pair.a.get()).ok());
  }
  ASSERT_EQ(::setitimer(ITIMER_REAL, &calm, nullptr), 0);
  ASSERT_EQ(::sigaction(SIGALRM, &before, nullptr), 0);
}

// ---- Waking

TEST_P(PollerConformance, AWakeUpBeforeTheWaitEndsIt) {
  poller_->wake();
  poller_->wake();
  EXPECT_THAT(wait(nanoseconds(-1)), IsEmpty());
  EXPECT_TRUE(woken_);
  wait();  // it may be seen twice
  wait();
  EXPECT_FALSE(woken_);
  EXPECT_GE(idle_wait(milliseconds(10)), milliseconds(10));
}

TEST_P(PollerConformance, AWakeUpComesBesideTheEvents) {
  FdPair pair = socket_pair();
  write_all(pair.b.get(), "x");
  ASSERT_TRUE(add(pair.a.get(), READ, 1).ok());
  poller_->wake();
  EXPECT_THAT(wait(), ElementsAre(Pair(1, READ)));
  EXPECT_TRUE(woken_);
}

TEST_P(PollerConformance, EachWakeUpFromAnotherThreadEndsAWait) {
  constexpr int kWakes = 2000;
  std::atomic<int> taken{0};
  std::thread waker([&] {
    for (int i = 0; i < kWakes; ++i) {
      poller_->wake();
      // The next only after this one was seen: each of them has to count.
      while (taken.load(std::memory_order_acquire) <= i) std::this_thread::yield();
    }
  });
  while (taken.load(std::memory_order_relaxed) < kWakes) {
    wait(nanoseconds(-1));
    if (woken_) taken.fetch_add(1, std::memory_order_release);
  }
  waker.join();
}

TEST_P(PollerConformance, ManyThreadsMayWakeWhileFdsComeAndGo) {
  std::atomic<bool> over{false};
  std::vector<std::thread> wakers;
  for (int i = 0; i < 3; ++i) {
    wakers.emplace_back([&] {
      while (!over.load(std::memory_order_relaxed)) poller_->wake();
    });
  }
  for (int i = 0; i < 200; ++i) {
    FdPair pair = socket_pair();
    ASSERT_TRUE(add(pair.a.get(), READ, 1).ok());
    write_all(pair.b.get(), "x");
    EXPECT_EQ(next(1), READ);
    ASSERT_TRUE(poller_->remove(pair.a.get()).ok());
  }
  over = true;
  for (std::thread& waker : wakers) waker.join();
}

TEST_P(PollerConformance, ASignalHandlerMayWake) {
  struct sigaction action {};
  action.sa_handler = [](int) { g_signalled.load(std::memory_order_relaxed)->wake(); };
  struct sigaction before {};
  ASSERT_EQ(::sigaction(SIGUSR1, &action, &before), 0);
  g_signalled = poller_.get();
  ASSERT_EQ(::raise(SIGUSR1), 0);
  wait(nanoseconds(-1));
  EXPECT_TRUE(woken_);
  // And while this thread waits, or is anywhere in the poller.
  FdPair pair = socket_pair();
  const itimerval storm{{0, 200}, {0, 200}}, calm{};
  ASSERT_EQ(::sigaction(SIGALRM, &action, nullptr), 0);
  ASSERT_EQ(::setitimer(ITIMER_REAL, &storm, nullptr), 0);
  for (int woken = 0; woken < 100;) {
    ASSERT_TRUE(add(pair.a.get(), READ | WRITE, 1).ok());
    ASSERT_TRUE(modify(pair.a.get(), NONE, 1).ok());
    wait(kDeadline);
    woken += woken_;
    ASSERT_TRUE(poller_->remove(pair.a.get()).ok());
  }
  ASSERT_EQ(::setitimer(ITIMER_REAL, &calm, nullptr), 0);
  action.sa_handler = SIG_IGN;
  ASSERT_EQ(::sigaction(SIGALRM, &action, nullptr), 0);
  ASSERT_EQ(::sigaction(SIGUSR1, &before, nullptr), 0);
}

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
