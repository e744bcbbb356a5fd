// When a stream is idle, and how it closes then: on every backend.

#include <memory>
#include <string>
#include <utility>

#include "gtest/gtest.h"
#include "gyre/loop/task.h"
#include "gyre/net/io_stream.h"
#include "gyre/tests/net/stream_fixture.h"
#include "gyre/tests/support/sockets.h"

namespace gyre::testing {
namespace {

class IOStreamIdle : public StreamTest {};
GYRE_FOR_EACH_BACKEND(IOStreamIdle);

TEST_P(IOStreamIdle, ANewStreamIsIdleAndClosesInALaterIteration) {
  const Connection connection = connect(tcp_pair());
  EXPECT_TRUE(connection.stream->idle());
  connection.stream->close_when_idle();
  EXPECT_FALSE(connection.stream->closed());
  run_until([&] { return connection.stream->closed(); });
  run_until([&] { return at_end(connection.peer.get()); });
}

TEST_P(IOStreamIdle, WhatIsToBeSentIsSentFirst) {
  const Connection connection = connect(tcp_pair());
  shrink_send_buffer(connection.stream->fileno());
  const std::string bytes = numbered_bytes(1 << 20);
  connection.stream->write(bytes);
  EXPECT_FALSE(connection.stream->idle());
  connection.stream->close_when_idle();
  EXPECT_TRUE(receive(connection.peer, bytes.size()) == bytes);
  run_until([&] { return at_end(connection.peer.get()); });
}

// Received by the machine, and on its way to the reader.
TEST_P(IOStreamIdle, ARequestThatIsInTheKernelIsReadAndAnswered) {
  const Connection connection = connect(socket_pair());
  IOStream& stream = *connection.stream;
  ASSERT_TRUE(stream.set_read_callback([&](std::string_view bytes) { stream.write(bytes); }).ok());
  run_turns(2);
  write_all(connection.peer.get(), "request");
  stream.close_when_idle();
  EXPECT_EQ(receive(connection.peer, 7), "request");
  run_until([&] { return stream.closed(); });
}

TEST_P(IOStreamIdle, ACoroutineIsBusyBetweenARequestAndTheNextRead) {
  const Connection connection = connect(socket_pair());
  IOStream& stream = *connection.stream;
  bool ended = false;
  loop_->spawn_callback([&]() -> Task<void> {
    EXPECT_TRUE((co_await stream.read_until("\n")).ok());
    EXPECT_FALSE(stream.idle());
    stream.close_when_idle();
    co_await sleep_for(std::chrono::milliseconds(0));
    EXPECT_FALSE(stream.closed());
    stream.write("answer");
    EXPECT_FALSE((co_await stream.read_until("\n")).ok());
    ended = true;
  });
  write_all(connection.peer.get(), "question\n");
  EXPECT_EQ(receive(connection.peer, 6), "answer");
  run_until([&] { return at_end(connection.peer.get()); });
  ::shutdown(connection.peer.get(), SHUT_RDWR);
  run_until([&] { return ended; });
}

TEST_P(IOStreamIdle, APartOfARequestKeepsItBusyUntilTheRestIsAnswered) {
  const Connection connection = connect(socket_pair());
  IOStream& stream = *connection.stream;
  stream.read_until("\n", [&](absl::StatusOr<std::string> line) {
    ASSERT_TRUE(line.ok()) << line.status();
    stream.write("re: " + *line);
    stream.read_until("\n", [](absl::StatusOr<std::string>) {});
  });
  write_all(connection.peer.get(), "half");
  run_until([&] { return stream.bytes_received() == 4; });
  EXPECT_FALSE(stream.idle());
  stream.close_when_idle();
  run_turns(5);
  EXPECT_FALSE(stream.closed());
  write_all(connection.peer.get(), "way\n");
  EXPECT_EQ(receive(connection.peer, 12), "re: halfway\n");
  run_until([&] { return at_end(connection.peer.get()); });
}

TEST_P(IOStreamIdle, KeptBusyItStaysUntilTheLastHoldIsGone) {
  const Connection connection = connect(socket_pair());
  IOStream& stream = *connection.stream;
  {
    IOStream::Busy first = stream.keep_busy();
    {
      const IOStream::Busy second = stream.keep_busy();
      stream.close_when_idle();
      run_turns(3);
    }
    IOStream::Busy moved = std::move(first);
    run_turns(3);
    EXPECT_FALSE(stream.closed());
    EXPECT_FALSE(stream.idle());
  }
  run_until([&] { return stream.closed(); });
}

TEST_P(IOStreamIdle, AHoldMayOutliveTheStreamsEnd) {
  const Connection connection = connect(socket_pair());
  const IOStream::Busy busy = connection.stream->keep_busy();
  connection.stream->close();
  connection.stream->close_when_idle();
  run_turns(2);
}

}  // namespace
}  // namespace gyre::testing
