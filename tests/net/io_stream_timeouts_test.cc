// The timeouts of streams, on every backend and a clock that the test turns.

#include <chrono>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "gyre/loop/task.h"
#include "gyre/net/io_stream.h"
#include "gyre/net/listen_socket.h"
#include "gyre/testing/manual_clock.h"
#include "gyre/tests/net/stream_fixture.h"
#include "gyre/tests/support/sockets.h"

namespace gyre::testing {
namespace {

using absl::StatusCode;
using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::HasSubstr;

class IOStreamTimeouts : public StreamTest {
 protected:
  IOStreamTimeouts() {
    IOLoopOptions options;
    options.name = "test";
    options.clock = &clock_;
    options.time_slice = std::chrono::hours(1);
    loop_ = make_loop(std::move(options));
  }
  ~IOStreamTimeouts() override { loop_.reset(); }  // before its clock

  // Lets the time pass, in two steps: whatever is touched in an iteration counts as touched at its
  // end, and so does what happened between two runs.
  void pass(std::chrono::nanoseconds time) {
    constexpr milliseconds kFirst(150);  // a tick of the wheel and more
    clock_.advance(kFirst);
    run_turns(2);
    clock_.advance(time - kFirst);
    run_turns(3);
  }
  Connection connect_watched(IOStreamOptions options, FdPair pair = socket_pair()) {
    Connection connection = connect(std::move(pair), options);
    watch(*connection.stream, closing_);
    return connection;
  }
  void expect_closed_by(const std::string& name) {
    run_turns(3);
    ASSERT_EQ(closing_.times, 1);
    EXPECT_EQ(closing_.reason.code(), StatusCode::kDeadlineExceeded);
    EXPECT_THAT(std::string(closing_.reason.message()), HasSubstr(name));
  }

  ManualClock clock_;
  Closing closing_;
};
GYRE_FOR_EACH_BACKEND(IOStreamTimeouts);

TEST_P(IOStreamTimeouts, AnIdleStreamIsClosedAndToldWhy) {
  const Connection connection = connect_watched({.idle_timeout = seconds(10)});
  pass(milliseconds(9900));
  EXPECT_FALSE(connection.stream->closed()) << "never early";
  pass(seconds(1));
  expect_closed_by("idle_timeout");
}

TEST_P(IOStreamTimeouts, WhatIsReceivedPutsTheIdleTimeoutOff) {
  const Connection connection = connect_watched({.idle_timeout = seconds(10)});
  ASSERT_TRUE(connection.stream->set_read_callback([](std::string_view) {}).ok());
  for (int i = 0; i < 5; ++i) {
    pass(seconds(8));
    const uint64_t before = connection.stream->bytes_received();
    write_all(connection.peer.get(), "x");
    run_until([&] { return connection.stream->bytes_received() > before; });
  }
  EXPECT_EQ(closing_.times, 0);
  pass(seconds(11));
  expect_closed_by("idle_timeout");
}

TEST_P(IOStreamTimeouts, WhatIsSentPutsTheIdleTimeoutOff) {
  const Connection connection = connect_watched({.idle_timeout = seconds(10)});
  for (int i = 0; i < 5; ++i) {
    pass(seconds(8));
    loop_->add_callback([&] { connection.stream->write("x"); });
    run_turns(2);
  }
  EXPECT_EQ(closing_.times, 0);
}

TEST_P(IOStreamTimeouts, TheIdleTimeoutMayBeSetAndTakenAwayLater) {
  const Connection connection = connect_watched({});
  pass(seconds(1000));
  connection.stream->set_idle_timeout(seconds(5));
  pass(seconds(4));
  connection.stream->set_idle_timeout(seconds(0));
  pass(seconds(1000));
  EXPECT_EQ(closing_.times, 0);
  connection.stream->set_idle_timeout(seconds(1));
  pass(seconds(2));
  expect_closed_by("idle_timeout");
  connection.stream->set_idle_timeout(seconds(1));
  connection.stream->set_read_timeout(seconds(1));
  connection.stream->set_write_timeout(seconds(1));
  pass(seconds(10));
  EXPECT_EQ(closing_.times, 1);
}

// One byte now and then keeps a stream busy, but answers no read.
TEST_P(IOStreamTimeouts, AReadThatIsNotAnsweredInTimeClosesTheStreamHoweverManyBytesTrickleIn) {
  const Connection connection = connect_watched({.read_timeout = seconds(10)});
  absl::Status read;
  connection.stream->read_until(
      "\n", [&](const absl::StatusOr<std::string>& result) { read = result.status(); });
  for (int i = 0; i < 9; ++i) {
    write_all(connection.peer.get(), "x");
    pass(seconds(1));
    EXPECT_EQ(closing_.times, 0);
  }
  pass(seconds(2));
  expect_closed_by("read_timeout");
  EXPECT_EQ(read, closing_.reason);
}

TEST_P(IOStreamTimeouts, EachReadHasItsOwnTimeAndNoneCountsBetweenThem) {
  const Connection connection = connect_watched({.read_timeout = seconds(10)});
  bool done = false;
  loop_->spawn_callback([&]() -> Task<void> {
    for (int i = 0; i < 4; ++i) {
      loop_->add_callback([&] {
        clock_.advance(seconds(8));
        write_all(connection.peer.get(), "line\n");
      });
      EXPECT_TRUE((co_await connection.stream->read_until("\n")).ok());
    }
    done = true;
  });
  run_until([&] { return done; });
  pass(seconds(100));
  EXPECT_EQ(closing_.times, 0);
}

TEST_P(IOStreamTimeouts, AReadThatIsCancelledHasNoTimeoutAnyMore) {
  const Connection connection = connect_watched({.read_timeout = seconds(10)});
  EXPECT_FALSE(loop_
                   ->run_sync(
                       [&]() -> Task<absl::Status> {
                         loop_->add_callback([&] { clock_.advance(milliseconds(5)); });
                         co_return (co_await connection.stream->read_bytes(1)).status();
                       },
                       milliseconds(1))
                   .ok());
  pass(seconds(100));
  EXPECT_EQ(closing_.times, 0);
}

TEST_P(IOStreamTimeouts, APeerThatTakesNothingIsClosedAfterTheWriteTimeout) {
  const Connection connection = connect_watched({.write_timeout = seconds(10)});
  connection.stream->write("taken at once");
  pass(seconds(100));
  EXPECT_EQ(closing_.times, 0);
  absl::Status written;
  loop_->spawn_callback([&]() -> Task<void> {
    written = co_await connection.stream->write(std::string(1024 * 1024, 'x'));
  });
  run_turns(2);
  pass(milliseconds(9900));
  EXPECT_EQ(closing_.times, 0);
  pass(seconds(1));
  expect_closed_by("write_timeout");
  EXPECT_EQ(written, closing_.reason);
}

TEST_P(IOStreamTimeouts, APeerThatTakesALittleInTimeIsServed) {
  const Connection connection = connect_watched({.write_timeout = seconds(10)});
  connection.stream->write(std::string(8 * 1024 * 1024, 'x'));
  std::string some(256 * 1024, '\0');
  for (int i = 0; i < 5; ++i) {
    pass(seconds(8));
    const uint64_t before = connection.stream->bytes_sent();
    run_until([&] {
      EXPECT_GT(::read(connection.peer.get(), some.data(), some.size()), 0);
      return connection.stream->bytes_sent() > before;
    });
  }
  EXPECT_GT(connection.stream->write_buffer_size(), 0u);
  EXPECT_EQ(closing_.times, 0);
  run_until([&] {
    read_available(connection.peer.get());
    return connection.stream->write_buffer_size() == 0;
  });
  pass(seconds(100));
  EXPECT_EQ(closing_.times, 0) << "nothing waits any more";
}

TEST_P(IOStreamTimeouts, TheReadAndTheWriteTimeoutMayBeSetWhileSomebodyWaits) {
  const Connection reader = connect_watched({});
  reader.stream->read_bytes(1, [](const absl::StatusOr<std::string>&) {});
  pass(seconds(100));
  reader.stream->set_read_timeout(seconds(1));
  pass(seconds(2));
  expect_closed_by("read_timeout");
  closing_ = {};
  const Connection writer = connect_watched({});
  writer.stream->write(std::string(1024 * 1024, 'x'));
  pass(seconds(100));
  writer.stream->set_write_timeout(seconds(1));
  pass(seconds(2));
  expect_closed_by("write_timeout");
}

// The peer has the end, and does not end in turn.
TEST_P(IOStreamTimeouts, AStreamThatLingersIsClosedAfterFiveSeconds) {
  const Connection connection = connect_watched({.idle_timeout = seconds(100)}, tcp_pair());
  write_all(connection.peer.get(), "unread");
  run_turns(3);
  connection.stream->write("answer");
  connection.stream->close_when_flushed();
  EXPECT_FALSE(connection.stream->closed());
  pass(milliseconds(4900));
  EXPECT_FALSE(connection.stream->closed());
  pass(seconds(1));
  EXPECT_TRUE(connection.stream->closed());
  run_turns(2);
  EXPECT_TRUE(closing_.reason.ok()) << closing_.reason;
}

// A listener whose queue is full answers nobody.
TEST_P(IOStreamTimeouts, AConnectWithoutAnAnswerFailsAfterTheConnectTimeout) {
  ListenOptions listen;
  listen.backlog = 0;
  const ListenSocket listener =
      ListenSocket::bind(SocketAddress::parse("127.0.0.1", 0).value(), listen).value();
  std::vector<UniqueFd> fillers;
  for (int i = 0; i < 8; ++i) {
    fillers.emplace_back(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
    ::connect(fillers.back().get(), listener.address().data(), listener.address().size());
  }
  const int fds = count_open_fds();
  absl::Status status;
  int calls = 0;
  IOStream::connect(*loop_, listener.address(),
                    [&](absl::StatusOr<std::shared_ptr<IOStream>> stream) {
                      ++calls;
                      status = stream.status();
                    },
                    {.connect_timeout = seconds(3)});
  pass(milliseconds(2900));
  EXPECT_EQ(calls, 0);
  pass(seconds(1));
  EXPECT_EQ(calls, 1);
  EXPECT_EQ(status.code(), StatusCode::kDeadlineExceeded) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("connect_timeout"));
  EXPECT_THAT(std::string(status.message()), HasSubstr(listener.address().to_string()));
  EXPECT_EQ(count_open_fds(), fds);
}

TEST_P(IOStreamTimeouts, AConnectInTimeLeavesNoTimeoutBehind) {
  const ListenSocket listener =
      ListenSocket::bind(SocketAddress::parse("127.0.0.1", 0).value()).value();
  std::shared_ptr<IOStream> stream;
  IOStream::connect(
      *loop_, listener.address(),
      [&](absl::StatusOr<std::shared_ptr<IOStream>> result) { stream = *std::move(result); },
      {.connect_timeout = seconds(3)});
  run_until([&] { return stream != nullptr; });
  pass(seconds(100));
  EXPECT_FALSE(stream->closed());
}

TEST_P(IOStreamTimeouts, WithItsLoopAStreamsTimeoutsEnd) {
  const Connection connection = connect_watched(
      {.idle_timeout = seconds(1), .read_timeout = seconds(1), .write_timeout = seconds(1)});
  connection.stream->read_bytes(1, [](const absl::StatusOr<std::string>&) {});
  connection.stream->write(std::string(1024 * 1024, 'x'));
  run_turns(2);
  EXPECT_TRUE(loop_->close().ok());
  EXPECT_TRUE(connection.stream->closed());
  EXPECT_EQ(closing_.times, 0);
}

}  // namespace
}  // namespace gyre::testing
