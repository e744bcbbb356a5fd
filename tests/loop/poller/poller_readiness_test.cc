// The contract of poller.h, once for each backend: what is reported of an fd. Nothing in here asks
// which one it is.

#include <netinet/in.h>
#include <sys/socket.h>

#include <map>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "gyre/loop/poller/poller.h"
#include "gyre/tests/loop/poller/poller_conformance.h"
#include "gyre/tests/support/sockets.h"

namespace gyre::testing {
namespace {

using std::chrono::milliseconds;
using ::testing::AnyOf;
using ::testing::ElementsAre;
using ::testing::Pair;

constexpr uint32_t NONE = PollEvents::kNone;
constexpr uint32_t READ = PollEvents::kRead;
constexpr uint32_t WRITE = PollEvents::kWrite;
constexpr uint32_t ERROR = PollEvents::kError;

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

}  // namespace
}  // namespace gyre::testing
