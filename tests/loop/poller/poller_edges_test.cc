// The contract of poller.h, once for each backend: edge-triggered registrations, where it has them.
// Nothing in here asks which one it is.

#include <sys/socket.h>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "gyre/loop/poller/poller.h"
#include "gyre/tests/loop/poller/poller_conformance.h"
#include "gyre/tests/support/sockets.h"

namespace gyre::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::Pair;

constexpr uint32_t READ = PollEvents::kRead;
constexpr uint32_t WRITE = PollEvents::kWrite;
constexpr uint32_t ERROR = PollEvents::kError;
constexpr uint32_t PEER_ENDED = PollEvents::kPeerEnded;

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

}  // namespace
}  // namespace gyre::testing
