// How a stream ends, on every backend.

#include <sys/socket.h>

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "gyre/loop/task.h"
#include "gyre/net/io_stream.h"
#include "gyre/net/socket_address.h"
#include "gyre/tests/net/stream_fixture.h"
#include "gyre/tests/support/sockets.h"

namespace gyre::testing {
namespace {

using absl::StatusCode;
using ::testing::ElementsAre;

// More than the buffers of a pair of sockets take.
constexpr size_t kLarge = 1024 * 1024;

class IOStreamClose : public StreamTest {
 protected:
  IOStreamClose() { watch(stream_, closing_); }

  void run_until_told() {
    run_until([&] { return closing_.times > 0; });
    run_turns(5);
    EXPECT_EQ(closing_.times, 1);
  }

  Connection connection_ = connect(socket_pair());
  IOStream& stream_ = *connection_.stream;
  Closing closing_;
};
GYRE_FOR_EACH_BACKEND(IOStreamClose);

TEST_P(IOStreamClose, ClosesTheFdAtOnceAndTellsLater) {
  const int fd = stream_.fileno();
  EXPECT_TRUE(is_open(fd));
  stream_.close();
  EXPECT_TRUE(stream_.closed());
  EXPECT_FALSE(is_open(fd));
  EXPECT_EQ(stream_.fileno(), -1);
  EXPECT_TRUE(at_end(connection_.peer.get()));
  EXPECT_EQ(closing_.times, 0);
  run_until_told();
  EXPECT_TRUE(closing_.reason.ok()) << closing_.reason;
}

TEST_P(IOStreamClose, WhoeverAsksIsToldOfAResetByThePeer) {
  Connection connection = connect(tcp_pair());
  Closing closing;
  watch(*connection.stream, closing);
  connection.stream->set_read_callback([](std::string_view) {}).IgnoreError();
  const linger reset{1, 0};
  ::setsockopt(connection.peer.get(), SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
  connection.peer.reset();
  run_until([&] { return closing.times > 0; });
  EXPECT_EQ(closing.reason.code(), StatusCode::kUnavailable);
  EXPECT_EQ(closing.reason.message(), "recv: Connection reset by peer");
  absl::Status asked_later;
  connection.stream->set_close_callback([&](const absl::Status& reason) { asked_later = reason; });
  run_turns(2);
  EXPECT_EQ(asked_later, closing.reason);
  EXPECT_FALSE(connection.stream->write("x").accepted());
}

TEST_P(IOStreamClose, ASecondTimeIsNothingAndTheFirstReasonStands) {
  stream_.close(absl::AbortedError("first"));
  stream_.close(absl::DataLossError("second"));
  stream_.close();
  stream_.close_when_flushed();
  run_until_told();
  EXPECT_EQ(closing_.reason.code(), StatusCode::kAborted);
}

TEST_P(IOStreamClose, WithAReasonFailsAPendingReadWithItBeforeTheCloseCallback) {
  std::vector<std::string> order;
  stream_.read_bytes(1, [&](absl::StatusOr<std::string> result) {
    order.push_back("read: " + std::string(result.status().message()));
  });
  stream_.set_close_callback([&](const absl::Status& reason) {
    order.push_back("closed: " + std::string(reason.message()));
  });
  stream_.close(absl::AbortedError("enough"));
  EXPECT_TRUE(order.empty()) << "never inside the call";
  run_turns(2);
  EXPECT_THAT(order, ElementsAre("read: enough", "closed: enough"));
}

TEST_P(IOStreamClose, WithoutAReasonCancelsWhatIsPending) {
  absl::Status read, written;
  loop_->spawn_callback(
      [&]() -> Task<void> { read = (co_await stream_.read_until("\n")).status(); });
  loop_->spawn_callback(
      [&]() -> Task<void> { written = co_await stream_.write(std::string(kLarge, 'x')); });
  run_turns(2);
  stream_.close();
  run_until_told();
  EXPECT_EQ(read.code(), StatusCode::kCancelled);
  EXPECT_EQ(written.code(), StatusCode::kCancelled);
  EXPECT_TRUE(closing_.reason.ok()) << closing_.reason;
}

TEST_P(IOStreamClose, DropsWhatTheKernelDidNotTake) {
  stream_.write(std::string(kLarge, 'x'));
  stream_.close();
  EXPECT_EQ(stream_.write_buffer_size(), 0u);
  EXPECT_LT(receive(connection_.peer, kLarge).size(), kLarge);
}

TEST_P(IOStreamClose, InTheReadCallbackEndsTheReading) {
  std::string received;
  ASSERT_TRUE(stream_
                  .set_read_callback([&](std::string_view bytes) -> size_t {
                    received += bytes[0];
                    stream_.close();
                    return 1;
                  })
                  .ok());
  write_all(connection_.peer.get(), "abc");
  run_until_told();
  EXPECT_EQ(received, "a");
}

TEST_P(IOStreamClose, InTheCallbackOfAReadIsTold) {
  stream_.read_bytes(1, [&](const absl::StatusOr<std::string>&) { stream_.close(); });
  write_all(connection_.peer.get(), "x");
  run_until_told();
}

TEST_P(IOStreamClose, InTheDrainCallbackIsTold) {
  stream_.set_drain_callback([&] { stream_.close(); });
  stream_.write(std::string(kLarge, 'x'));
  EXPECT_EQ(receive(connection_.peer, kLarge).size(), kLarge);
  run_until_told();
}

TEST_P(IOStreamClose, InTheCloseCallbackIsNothing) {
  int calls = 0;
  stream_.set_close_callback([&](const absl::Status&) {
    ++calls;
    stream_.close(absl::AbortedError("again"));
  });
  stream_.close();
  run_turns(5);
  EXPECT_EQ(calls, 1);
}

TEST_P(IOStreamClose, WithAReadThatAsksAgainFailsThatToo) {
  std::vector<StatusCode> codes;
  std::function<void(absl::StatusOr<std::string>)> again = [&](const auto& result) {
    codes.push_back(result.status().code());
    if (codes.size() < 3) stream_.read_bytes(1, again);
  };
  stream_.read_bytes(1, again);
  stream_.close();
  run_until([&] { return codes.size() == 3; });
  EXPECT_THAT(codes,
              ElementsAre(StatusCode::kCancelled, StatusCode::kCancelled, StatusCode::kCancelled));
}

// ---- The close callback

TEST_P(IOStreamClose, ACallbackThatIsReplacedIsNotCalled) {
  int calls = 0;
  stream_.set_close_callback([&](const absl::Status&) { ++calls; });
  stream_.close();
  run_turns(2);
  EXPECT_EQ(calls, 1);
  EXPECT_EQ(closing_.times, 0);
}

TEST_P(IOStreamClose, ACallbackThatIsTakenAwayIsNotCalled) {
  stream_.set_close_callback(nullptr);
  stream_.close();
  stream_.set_close_callback(nullptr);
  run_turns(2);
  EXPECT_EQ(closing_.times, 0);
}

TEST_P(IOStreamClose, ACallbackThatIsSetAfterTheCloseIsCalledAllTheSame) {
  stream_.set_close_callback(nullptr);
  stream_.close(absl::AbortedError("the reason"));
  run_turns(2);
  watch(stream_, closing_);
  EXPECT_EQ(closing_.times, 0) << "never inside the call";
  run_turns(1);
  EXPECT_EQ(closing_.times, 1);
  EXPECT_EQ(closing_.reason.code(), StatusCode::kAborted);
}

TEST_P(IOStreamClose, ThePeersEndWithAPendingReadIsToldOnce) {
  absl::Status read;
  stream_.read_bytes(1, [&](absl::StatusOr<std::string> result) {
    read = result.status();
    EXPECT_EQ(closing_.times, 0) << "the read comes first";
  });
  connection_.peer.reset();
  run_until_told();
  EXPECT_EQ(read.code(), StatusCode::kOutOfRange);
  EXPECT_TRUE(closing_.reason.ok()) << closing_.reason;
}

TEST_P(IOStreamClose, APeersResetWhileNobodyReadsIsTheReason) {
  Connection tcp = connect(tcp_pair());
  Closing closing;
  watch(*tcp.stream, closing);
  run_turns(2);
  reset_connection(std::move(tcp.peer));
  run_until([&] { return closing.times > 0; });
  EXPECT_EQ(closing.reason.code(), StatusCode::kUnavailable);
}

// ---- close_when_flushed

TEST_P(IOStreamClose, WhenFlushedLosesNothing) {
  Connection tcp = connect(tcp_pair());
  Closing closing;
  watch(*tcp.stream, closing);
  const std::string sent = numbered_bytes(8 * 1024 * 1024);
  tcp.stream->write(sent);
  tcp.stream->close_when_flushed();
  EXPECT_FALSE(tcp.stream->closed());
  EXPECT_TRUE(receive(tcp.peer, sent.size() + 1) == sent);
  EXPECT_TRUE(at_end(tcp.peer.get()));
  tcp.peer.reset();
  run_until([&] { return closing.times > 0; });
  EXPECT_TRUE(closing.reason.ok()) << closing.reason;
}

// A close with unread input resets the connection, and the reset takes the answer along.
TEST_P(IOStreamClose, WhenFlushedThePeersUnreadBytesDoNotResetTheAnswer) {
  Connection tcp = connect(tcp_pair());
  write_all(tcp.peer.get(), std::string(100, 'q'));
  run_turns(3);
  tcp.stream->write("the answer");
  tcp.stream->close_when_flushed();
  run_turns(3);
  write_all(tcp.peer.get(), "more that nobody reads");
  run_turns(3);
  EXPECT_EQ(receive(tcp.peer, 100), "the answer");
  tcp.peer.reset();
  run_until([&] { return tcp.stream->closed(); });
}

TEST_P(IOStreamClose, WhenFlushedWithNothingUnderWayClosesAtOnce) {
  stream_.close_when_flushed();
  EXPECT_TRUE(stream_.closed());
  run_until_told();
}

TEST_P(IOStreamClose, WhenFlushedTwiceIsOnce) {
  stream_.write(std::string(kLarge, 'x'));
  stream_.close_when_flushed();
  stream_.close_when_flushed();
  EXPECT_EQ(receive(connection_.peer, kLarge + 1).size(), kLarge);
  stream_.close_when_flushed();
  connection_.peer.reset();
  run_until_told();
}

TEST_P(IOStreamClose, WhenFlushedInTheReadCallbackSendsWhatItWrote) {
  ASSERT_TRUE(stream_
                  .set_read_callback([&](std::string_view) {
                    stream_.close_when_flushed();
                    EXPECT_FALSE(stream_.write("too late").accepted());
                  })
                  .ok());
  stream_.write("before");
  write_all(connection_.peer.get(), "?");
  EXPECT_EQ(receive(connection_.peer, 100), "before");
  connection_.peer.reset();
  run_until_told();
}

TEST_P(IOStreamClose, WhenFlushedAnAnswerOfTheSameReadCallbackArrives) {
  ASSERT_TRUE(stream_
                  .set_read_callback([&](std::string_view) {
                    stream_.write("answer");
                    stream_.close_when_flushed();
                  })
                  .ok());
  write_all(connection_.peer.get(), "?");
  EXPECT_EQ(receive(connection_.peer, 100), "answer");
  connection_.peer.reset();
  run_until_told();
}

TEST_P(IOStreamClose, WhenFlushedAPendingReadIsCancelledAtTheEnd) {
  absl::Status read;
  stream_.read_bytes(1, [&](absl::StatusOr<std::string> result) { read = result.status(); });
  stream_.close_when_flushed();
  run_until_told();
  EXPECT_EQ(read.code(), StatusCode::kCancelled) << read;
}

TEST_P(IOStreamClose, AtOnceAfterWhenFlushedDropsTheRest) {
  stream_.write(std::string(kLarge, 'x'));
  stream_.close_when_flushed();
  stream_.close(absl::AbortedError("no patience"));
  EXPECT_TRUE(stream_.closed());
  run_until_told();
  EXPECT_EQ(closing_.reason.code(), StatusCode::kAborted);
}

TEST_P(IOStreamClose, ThePeersEndStillSendsWhatWaits) {
  const Connection tcp = connect(tcp_pair());
  const std::string sent = numbered_bytes(8 * 1024 * 1024);
  tcp.stream->write(sent);
  ASSERT_EQ(::shutdown(tcp.peer.get(), SHUT_WR), 0);
  run_turns(5);
  EXPECT_TRUE(receive(tcp.peer, sent.size() + 1) == sent);
  run_until([&] { return tcp.stream->closed(); });
}

// ---- Afterwards

TEST_P(IOStreamClose, AClosedStreamHasNoAddresses) {
  const Connection tcp = connect(tcp_pair());
  EXPECT_EQ(tcp.stream->local_address().value(), SocketAddress::peer_of(tcp.peer.get()).value());
  EXPECT_EQ(tcp.stream->peer_address().value(), SocketAddress::local_of(tcp.peer.get()).value());
  tcp.stream->close(absl::AbortedError("the reason"));
  EXPECT_EQ(tcp.stream->local_address().status().code(), StatusCode::kAborted);
  EXPECT_EQ(tcp.stream->peer_address().status().code(), StatusCode::kAborted);
}

// A number that is taken again at once must not meet what the closed stream still does.
TEST_P(IOStreamClose, WhatAClosedStreamIsAskedDoesNotTouchAReusedFd) {
  write_all(connection_.peer.get(), "unread");
  const int fd = stream_.fileno();
  stream_.close();
  FdPair next = socket_pair();
  ASSERT_EQ(next.a.get(), fd) << "the lowest number is taken again";
  stream_.write("for the old one");
  stream_.set_nodelay(true);
  stream_.pause_reading();
  stream_.resume_reading();
  stream_.close_when_flushed();
  run_turns(3);
  EXPECT_TRUE(is_open(fd));
  EXPECT_EQ(read_available(next.b.get()), "");
}

}  // namespace
}  // namespace gyre::testing
