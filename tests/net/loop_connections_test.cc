// The books of a server's connections on a loop, on every backend.

#include "gyre/net/loop_connections.h"

#include <fcntl.h>

#include <memory>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "gyre/loop/io_loop.h"
#include "gyre/loop/loop_access.h"
#include "gyre/net/io_stream.h"
#include "gyre/net/place_signal.h"
#include "gyre/tests/net/stream_fixture.h"
#include "gyre/tests/support/sockets.h"

namespace gyre::testing {
namespace {

using internal::LoopConnections;
using ::testing::UnorderedElementsAreArray;

class LoopConnectionsTest : public StreamTest {
 protected:
  Connection add() {
    Connection connection = connect(socket_pair());
    connections_->count_assigned();
    connections_->add(*connection.stream);
    return connection;
  }
  std::vector<IOStream*> listed() {
    std::vector<IOStream*> streams;
    connections_->for_each([&](IOStream& stream) { streams.push_back(&stream); });
    return streams;
  }

  std::shared_ptr<LoopConnections> connections_ = std::make_shared<LoopConnections>(*loop_);
};
GYRE_FOR_EACH_BACKEND(LoopConnectionsTest);

TEST_P(LoopConnectionsTest, CountsAConnectionFromItsAssignmentToItsClose) {
  EXPECT_EQ(&connections_->loop(), loop_.get());
  EXPECT_EQ(connections_->open(), 0u);
  connections_->count_assigned();
  EXPECT_EQ(connections_->open(), 1u);
  EXPECT_EQ(connections_->accepted(), 0u) << "not a stream yet";
  const Connection connection = connect(socket_pair());
  connections_->add(*connection.stream);
  EXPECT_EQ(connections_->open(), 1u);
  EXPECT_EQ(connections_->accepted(), 1u);
  connection.stream->close();
  EXPECT_EQ(connections_->open(), 0u);
  EXPECT_EQ(connections_->accepted(), 1u);
  connection.stream->close();
  EXPECT_EQ(connections_->open(), 0u) << "closed twice, counted once";
}

TEST_P(LoopConnectionsTest, AConnectionThatNeverBecameAStreamIsNotOpenAnyMore) {
  connections_->count_assigned();
  connections_->count_assigned();
  connections_->count_lost();
  EXPECT_EQ(connections_->open(), 1u);
  EXPECT_EQ(connections_->accepted(), 0u);
}

// An acceptor without fds tries again then: the fd has to be free by the time that it does.
TEST_P(LoopConnectionsTest, WhoWaitsForAnFdIsToldOnceAConnectionHasGivenItsOwnBack) {
  const auto freed = std::make_shared<internal::PlaceSignal>();
  connections_ = std::make_shared<LoopConnections>(*loop_, freed);
  const auto wait_for_fd = [&](int fd) {
    const auto told = std::make_shared<bool>(false);
    freed->wait(internal::LoopAccess::queue(*loop_), [told, fd] {
      *told = true;
      EXPECT_EQ(::fcntl(fd, F_GETFD), -1) << "it is still open";
    });
    return told;
  };
  const Connection connection = add();
  const auto told = wait_for_fd(connection.stream->fileno());
  run_turns(2);
  EXPECT_FALSE(*told);
  connection.stream->close();
  run_until([&] { return *told; });
  connections_->count_assigned();
  const auto told_again = wait_for_fd(closed_fd());
  connections_->count_lost();
  run_until([&] { return *told_again; });
}

TEST_P(LoopConnectionsTest, ListsTheStreamsInWhateverOrderTheyClose) {
  std::vector<Connection> all;
  for (int i = 0; i < 5; ++i) all.push_back(add());
  const auto expect_open = [&](std::vector<int> indices) {
    std::vector<IOStream*> expected;
    for (const int i : indices) expected.push_back(all[i].stream.get());
    EXPECT_THAT(listed(), UnorderedElementsAreArray(expected));
    EXPECT_EQ(connections_->open(), indices.size());
  };
  expect_open({0, 1, 2, 3, 4});
  all[2].stream->close();  // in the middle
  expect_open({0, 1, 3, 4});
  all[0].stream->close();  // at one end
  expect_open({1, 3, 4});
  all[4].stream->close();  // at the other
  expect_open({1, 3});
  const Connection late = add();
  all[1].stream->close();
  all[3].stream->close();
  EXPECT_THAT(listed(), UnorderedElementsAreArray({late.stream.get()}));
}

TEST_P(LoopConnectionsTest, AVisitMayCloseTheStreamsAndOthers) {
  std::vector<Connection> all;
  for (int i = 0; i < 4; ++i) all.push_back(add());
  int visits = 0;
  connections_->for_each([&](IOStream&) {
    ++visits;
    for (const Connection& connection : all) connection.stream->close();
  });
  EXPECT_EQ(visits, 1) << "those that were closed meanwhile are not visited";
  EXPECT_EQ(connections_->open(), 0u);
}

TEST_P(LoopConnectionsTest, AVisitMayBeTheLastToKnowAStream) {
  for (int i = 0; i < 3; ++i) add();
  EXPECT_EQ(connections_->open(), 3u) << "the loop keeps them";
  connections_->for_each([](IOStream& stream) { stream.close(); });
  run_turns(2);
  EXPECT_TRUE(listed().empty());
}

TEST_P(LoopConnectionsTest, CountsTheBytesOfThoseThatAreClosed) {
  const Connection one = add(), two = add();
  std::string received;
  for (const Connection* connection : {&one, &two}) {
    ASSERT_TRUE(connection->stream
                    ->set_read_callback([&received](std::string_view bytes) { received += bytes; })
                    .ok());
    write_all(connection->peer.get(), "12345");
    connection->stream->write("123");
  }
  run_until([&] { return received.size() == 10; });
  EXPECT_EQ(connections_->bytes_received(), 0u);
  EXPECT_EQ(connections_->bytes_sent(), 0u);
  one.stream->close();
  EXPECT_EQ(connections_->bytes_received(), 5u);
  EXPECT_EQ(connections_->bytes_sent(), 3u);
  two.stream->close();
  EXPECT_EQ(connections_->bytes_received(), 10u);
  EXPECT_EQ(connections_->bytes_sent(), 6u);
}

TEST_P(LoopConnectionsTest, AStreamThatEndsWithItsLoopIsNotOpenAnyMore) {
  const Connection connection = add();
  loop_->close().IgnoreError();
  EXPECT_EQ(connections_->open(), 0u);
  EXPECT_TRUE(listed().empty());
}

TEST_P(LoopConnectionsTest, LiveAsLongAsTheirStreams) {
  const std::weak_ptr<LoopConnections> books = connections_;
  const Connection connection = add();
  connections_.reset();
  EXPECT_FALSE(books.expired());
  connection.stream->close();
}

}  // namespace
}  // namespace gyre::testing
