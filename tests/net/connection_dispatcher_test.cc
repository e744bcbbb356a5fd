// How accepted connections are dealt out to loops, on every backend.

#include "gyre/net/connection_dispatcher.h"

#include <unistd.h>

#include <atomic>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "gyre/loop/io_loop.h"
#include "gyre/net/loop_connections.h"
#include "gyre/tests/support/event.h"
#include "gyre/tests/support/loop_fixture.h"
#include "gyre/tests/support/sockets.h"

namespace gyre::testing {
namespace {

using internal::AcceptedConnection;
using internal::LoopConnections;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

class ConnectionDispatcherTest : public LoopTest {
 protected:
  // Three loops that do not run unless the test runs them.
  ConnectionDispatcherTest() {
    for (int i = 0; i < 3; ++i) {
      loops_.push_back(make_loop("loop " + std::to_string(i)));
      books_.push_back(std::make_shared<LoopConnections>(*loops_[i]));
    }
    adopted_.resize(3);
  }
  ~ConnectionDispatcherTest() override { loops_.clear(); }

  // Keeps the fds by loop.
  std::unique_ptr<ConnectionDispatcher> make(Placement placement) {
    ConnectionDispatcher::Options options;
    options.placement = placement;
    return make(std::move(options));
  }
  std::unique_ptr<ConnectionDispatcher> make(ConnectionDispatcher::Options options) {
    return make(std::move(options), [this](AcceptedConnection connection, LoopConnections& loop) {
      EXPECT_TRUE(loop.loop().in_loop_thread());
      adopted_[index_of(loop)].push_back(connection.fd.get());
      kept_.push_back(std::move(connection.fd));
    });
  }
  std::unique_ptr<ConnectionDispatcher> make(ConnectionDispatcher::Options options,
                                             ConnectionDispatcher::Adopt adopt) {
    return std::make_unique<ConnectionDispatcher>(
        books_, std::move(options),
        std::make_shared<const ConnectionDispatcher::Adopt>(std::move(adopt)));
  }
  size_t index_of(const LoopConnections& loop) const {
    size_t i = 0;
    while (books_[i].get() != &loop) ++i;
    return i;
  }

  // `count` connections; gives their numbers.
  std::vector<int> dispatch(ConnectionDispatcher& dispatcher, int count) {
    std::vector<AcceptedConnection> connections;
    std::vector<int> numbers;
    for (int i = 0; i < count; ++i) {
      FdPair pair = socket_pair();
      numbers.push_back(pair.a.get());
      connections.push_back({std::move(pair.a)});
      peers_.push_back(std::move(pair.b));
    }
    dispatcher.dispatch(connections);
    EXPECT_THAT(connections, IsEmpty());
    return numbers;
  }
  void run_all() {
    for (const std::unique_ptr<IOLoop>& loop : loops_) {
      if (!loop->closed()) run_turns(*loop, 1);
    }
  }
  std::vector<uint64_t> open() const {
    std::vector<uint64_t> counts;
    for (const auto& loop : books_) counts.push_back(loop->open());
    return counts;
  }

  std::vector<std::unique_ptr<IOLoop>> loops_;
  std::vector<std::shared_ptr<LoopConnections>> books_;
  std::vector<std::vector<int>> adopted_;
  std::vector<UniqueFd> kept_;
  std::vector<UniqueFd> peers_;
};
GYRE_FOR_EACH_BACKEND(ConnectionDispatcherTest);

TEST_P(ConnectionDispatcherTest, RoundRobinGivesEachLoopItsTurn) {
  const auto dispatcher = make(Placement::kRoundRobin);
  const std::vector<int> fds = dispatch(*dispatcher, 7);
  run_all();
  EXPECT_THAT(adopted_[0], ElementsAre(fds[0], fds[3], fds[6])) << "in order of arrival";
  EXPECT_THAT(adopted_[1], ElementsAre(fds[1], fds[4]));
  EXPECT_THAT(adopted_[2], ElementsAre(fds[2], fds[5]));
}

TEST_P(ConnectionDispatcherTest, RoundRobinGoesOnWhereTheLastBatchEnded) {
  const auto dispatcher = make(Placement::kRoundRobin);
  for (int i = 0; i < 4; ++i) dispatch(*dispatcher, 1);
  run_all();
  EXPECT_EQ(adopted_[0].size(), 2u);
  EXPECT_EQ(adopted_[1].size(), 1u);
  EXPECT_EQ(adopted_[2].size(), 1u);
}

TEST_P(ConnectionDispatcherTest, RoundRobinDoesNotLookAtWhatIsOpen) {
  for (int i = 0; i < 100; ++i) books_[0]->count_assigned();
  const auto dispatcher = make(Placement::kRoundRobin);
  dispatch(*dispatcher, 3);
  EXPECT_THAT(open(), ElementsAre(101, 1, 1));
}

TEST_P(ConnectionDispatcherTest, LeastConnectionsFillsUpTheLoopsThatHaveFewer) {
  for (int i = 0; i < 5; ++i) books_[0]->count_assigned();
  for (int i = 0; i < 2; ++i) books_[2]->count_assigned();
  const auto dispatcher = make(Placement::kLeastConnections);
  dispatch(*dispatcher, 2);
  EXPECT_THAT(open(), ElementsAre(5, 2, 2));
  dispatch(*dispatcher, 6);
  EXPECT_THAT(open(), ElementsAre(5, 5, 5));
  dispatch(*dispatcher, 3);
  EXPECT_THAT(open(), ElementsAre(6, 6, 6));
}

// A count that is taken only when the loop adopts the connection would send a whole batch to one.
TEST_P(ConnectionDispatcherTest, LeastConnectionsCountsThoseThatAreOnTheirWay) {
  const auto dispatcher = make(Placement::kLeastConnections);
  dispatch(*dispatcher, 30);
  EXPECT_THAT(open(), ElementsAre(10, 10, 10)) << "before any loop ran";
}

TEST_P(ConnectionDispatcherTest, LeastConnectionsSeesWhatWasClosedMeanwhile) {
  const auto dispatcher = make(Placement::kLeastConnections);
  dispatch(*dispatcher, 9);
  books_[1]->count_lost();
  books_[1]->count_lost();
  dispatch(*dispatcher, 2);
  EXPECT_THAT(open(), ElementsAre(3, 3, 3));
}

TEST_P(ConnectionDispatcherTest, LeastConnectionsDoesNotPreferTheFirstOfEquals) {
  const auto dispatcher = make(Placement::kLeastConnections);
  std::vector<uint64_t> first_choices(3);
  for (int i = 0; i < 3; ++i) {
    const std::vector<uint64_t> before = open();
    dispatch(*dispatcher, 1);
    for (size_t loop = 0; loop < 3; ++loop) {
      if (open()[loop] > before[loop]) {
        ++first_choices[loop];
        books_[loop]->count_lost();  // closed again: all are equal
      }
    }
  }
  EXPECT_THAT(first_choices, ElementsAre(1, 1, 1));
}

// Hence at most one wake-up for each loop.
TEST_P(ConnectionDispatcherTest, PostsOnceToEachLoopForABatch) {
  const auto dispatcher = make(Placement::kRoundRobin);
  dispatch(*dispatcher, 30);
  for (const std::unique_ptr<IOLoop>& loop : loops_) {
    const uint64_t before = loop->metrics().callbacks;
    run_turns(*loop, 1);
    constexpr uint64_t kOfRunTurns = 2;
    EXPECT_EQ(loop->metrics().callbacks - before - kOfRunTurns, 1u);
  }
}

TEST_P(ConnectionDispatcherTest, NothingToDispatchPostsNothing) {
  const auto dispatcher = make(Placement::kRoundRobin);
  dispatch(*dispatcher, 0);
  run_turns(*loops_[0], 1);
  EXPECT_EQ(loops_[0]->metrics().callbacks, 2u);
  EXPECT_EQ(dispatcher->counters().refused.get(), 0u);
}

// ---- Loops that are closed

TEST_P(ConnectionDispatcherTest, AClosedLoopsShareGoesToTheOthers) {
  const auto dispatcher = make(Placement::kRoundRobin);
  loops_[1]->close().IgnoreError();
  const std::vector<int> fds = dispatch(*dispatcher, 6);
  EXPECT_THAT(open(), ElementsAre(2, 0, 4));
  run_all();
  EXPECT_EQ(adopted_[0].size() + adopted_[2].size(), 6u);
  EXPECT_EQ(dispatcher->counters().refused.get(), 0u);
}

TEST_P(ConnectionDispatcherTest, WhereEveryLoopIsClosedTheConnectionsAreClosedAndCounted) {
  const auto dispatcher = make(Placement::kLeastConnections);
  for (const std::unique_ptr<IOLoop>& loop : loops_) loop->close().IgnoreError();
  for (const int fd : dispatch(*dispatcher, 5)) EXPECT_FALSE(is_open(fd));
  EXPECT_EQ(dispatcher->counters().refused.get(), 5u);
  EXPECT_THAT(open(), ElementsAre(0, 0, 0));
  char byte;
  EXPECT_EQ(::read(peers_[0].get(), &byte, 1), 0) << "the peer is told";
}

TEST_P(ConnectionDispatcherTest, WhatIsUnderWayWhenItsLoopClosesIsClosedWithIt) {
  const auto dispatcher = make(Placement::kRoundRobin);
  const std::vector<int> fds = dispatch(*dispatcher, 3);
  loops_[2]->close().IgnoreError();
  EXPECT_FALSE(is_open(fds[2]));
  EXPECT_THAT(open(), ElementsAre(1, 1, 0));
  run_all();
  EXPECT_THAT(adopted_[0], ElementsAre(fds[0]));
}

TEST_P(ConnectionDispatcherTest, MayBeGoneWhenItsConnectionsArrive) {
  dispatch(*make(Placement::kRoundRobin), 3);
  run_all();
  EXPECT_EQ(kept_.size(), 3u);
}

// Posts race with the loops' close: each connection is adopted, or closed and taken off the books.
TEST_P(ConnectionDispatcherTest, NoConnectionIsLostWhileALoopIsClosedByItsThread) {
  std::atomic<int> adopted{0};
  const auto dispatcher = make(ConnectionDispatcher::Options(),
                               [&](AcceptedConnection connection, LoopConnections& loop) {
                                 connection.fd.reset();
                                 loop.count_lost();  // closed: as a stream does
                                 adopted.fetch_add(1);
                               });
  const int fds = count_open_fds();
  {
    LoopInThread first(*loops_[0]), second(*loops_[1]), third(*loops_[2]);
    for (int i = 0; i < 50; ++i) {
      if (i == 25) {
        second.stop();
        loops_[1]->close().IgnoreError();
      }
      dispatch(*dispatcher, 10);
    }
    for (LoopInThread* thread : {&first, &third}) {
      // Behind everything that was dispatched to it.
      Event arrived;
      loops_[thread == &first ? 0 : 2]->add_callback([&] { arrived.set(); });
      EXPECT_TRUE(arrived.wait());
    }
  }
  EXPECT_EQ(dispatcher->counters().refused.get(), 0u);
  EXPECT_GE(adopted.load(), 500 - 25 * 10);
  EXPECT_THAT(open(), ElementsAre(0, 0, 0));
  peers_.clear();
  // The closed loop has taken its own with it.
  EXPECT_LE(count_open_fds(), fds);
}

// ---- The user's choice

TEST_P(ConnectionDispatcherTest, TheUsersFunctionChooses) {
  ConnectionDispatcher::Options options;
  options.pick = [](const SocketAddress&, const LoopLoads& loads) {
    EXPECT_EQ(loads.size(), 3u);
    return loads.connections(2) < 2 ? 2 : 1;
  };
  dispatch(*make(std::move(options)), 4);
  EXPECT_THAT(open(), ElementsAre(0, 2, 2));
}

TEST_P(ConnectionDispatcherTest, AnAnswerOutOfRangeOrWithoutRoomGoesRound) {
  ConnectionDispatcher::Options options;
  options.per_loop = 2;
  options.pick = [](const SocketAddress&, const LoopLoads& loads) {
    return loads.has_room(0) ? size_t{0} : size_t{99};
  };
  dispatch(*make(std::move(options)), 6);
  EXPECT_THAT(open(), ElementsAre(2, 2, 2));
}

TEST_P(ConnectionDispatcherTest, AnExceptionOfTheUsersFunctionLosesNoConnection) {
  log_.expect(LogLevel::kError, "no idea");
  ConnectionDispatcher::Options options;
  options.pick = [](const SocketAddress&, const LoopLoads&) -> size_t {
    throw std::runtime_error("no idea");
  };
  const auto dispatcher = make(std::move(options));
  loop_->add_callback([&] {
    dispatch(*dispatcher, 1);
    loop_->stop();
  });
  run();
  EXPECT_EQ(open()[0] + open()[1] + open()[2], 1u);
}

// ---- Limits

TEST_P(ConnectionDispatcherTest, ALoopAtItsLimitIsPassedOver) {
  for (const Placement placement :
       {Placement::kRoundRobin, Placement::kLeastConnections, Placement::kTwoChoices,
        Placement::kSourceHash, Placement::kLeastBusy}) {
    ConnectionDispatcher::Options options;
    options.placement = placement;
    options.per_loop = open()[0] + 3;
    dispatch(*make(std::move(options)), 9);
    EXPECT_EQ(open()[0], open()[1]) << to_string(placement);
    EXPECT_EQ(open()[1], open()[2]) << to_string(placement);
  }
}

TEST_P(ConnectionDispatcherTest, CountsAHandOverForEachLoopOfABatch) {
  const auto dispatcher = make(Placement::kRoundRobin);
  dispatch(*dispatcher, 30);
  EXPECT_EQ(dispatcher->counters().hand_overs.get(), 3u);
  dispatch(*dispatcher, 1);
  EXPECT_EQ(dispatcher->counters().hand_overs.get(), 4u);
}

}  // namespace
}  // namespace gyre::testing
