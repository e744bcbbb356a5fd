// Ending one direction, and ending with a reset; on every backend.

#include <sys/socket.h>

#include <cerrno>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "gyre/loop/future.h"
#include "gyre/loop/task.h"
#include "gyre/net/io_stream.h"
#include "gyre/tests/net/stream_fixture.h"
#include "gyre/tests/support/sockets.h"

namespace gyre::testing {
namespace {

using absl::StatusCode;

// More than the buffers of a pair of sockets take.
constexpr size_t kLarge = 1024 * 1024;

class IOStreamHalfClose : public StreamTest {
 protected:
  IOStreamHalfClose() { watch(stream_, closing_); }

  Connection connection_ = connect(tcp_pair());
  IOStream& stream_ = *connection_.stream;
  Closing closing_;
};
GYRE_FOR_EACH_BACKEND(IOStreamHalfClose);

TEST_P(IOStreamHalfClose, ThePeerSeesTheEndAndIsStillRead) {
  std::string received;
  ASSERT_TRUE(stream_.set_read_callback([&](std::string_view bytes) { received += bytes; }).ok());
  stream_.write("request");
  stream_.shutdown_write();
  EXPECT_EQ(receive(connection_.peer, 100), "request");
  EXPECT_TRUE(at_end(connection_.peer.get()));
  write_all(connection_.peer.get(), "answer");
  run_until([&] { return received == "answer"; });
  EXPECT_FALSE(stream_.closed());
  connection_.peer.reset();
  run_until([&] { return closing_.times > 0; });
  EXPECT_TRUE(closing_.reason.ok()) << closing_.reason;
}

TEST_P(IOStreamHalfClose, TheEndComesAfterWhatWaits) {
  const std::string sent = numbered_bytes(8 * kLarge);
  stream_.write(sent);
  EXPECT_GT(stream_.write_buffer_size(), 0u);
  stream_.shutdown_write();
  EXPECT_TRUE(receive(connection_.peer, sent.size() + 1) == sent);
  EXPECT_FALSE(stream_.closed());
}

TEST_P(IOStreamHalfClose, AfterItAWriteIsFailedPrecondition) {
  stream_.shutdown_write();
  EXPECT_FALSE(stream_.write("x").accepted());
  run_task([&]() -> Task<void> {
    EXPECT_EQ((co_await stream_.write("x")).code(), StatusCode::kFailedPrecondition);
  });
  EXPECT_EQ(stream_.bytes_sent(), 0u);
}

TEST_P(IOStreamHalfClose, TwiceIsOnceAndAfterACloseNothing) {
  stream_.shutdown_write();
  stream_.shutdown_write();
  stream_.close();
  stream_.shutdown_write();
  run_until([&] { return closing_.times > 0; });
  EXPECT_EQ(closing_.times, 1);
}

TEST_P(IOStreamHalfClose, InTheReadCallbackSendsWhatItWroteFirst) {
  ASSERT_TRUE(stream_
                  .set_read_callback([&](std::string_view) {
                    stream_.write("last words");
                    stream_.shutdown_write();
                  })
                  .ok());
  write_all(connection_.peer.get(), "?");
  EXPECT_EQ(receive(connection_.peer, 100), "last words");
}

// Both ends at once, as two clients of the same protocol do it.
TEST_P(IOStreamHalfClose, OfBothEndsClosesBothOnce) {
  absl::StatusOr<std::shared_ptr<IOStream>> other =
      IOStream::create(*loop_, std::move(connection_.peer));
  ASSERT_TRUE(other.ok());
  Closing other_closing;
  watch(**other, other_closing);
  stream_.shutdown_write();
  (*other)->shutdown_write();
  run_until([&] { return closing_.times > 0 && other_closing.times > 0; });
  run_turns(3);
  EXPECT_EQ(closing_.times, 1);
  EXPECT_EQ(other_closing.times, 1);
  EXPECT_TRUE(closing_.reason.ok() && other_closing.reason.ok());
}

// The peer ends, and is answered all the same: the stream stays until this end ends, too.
TEST_P(IOStreamHalfClose, AfterThePeersEndItClosesTheStreamOnceAllIsSent) {
  IOStreamOptions options;
  options.allow_half_close = true;
  Connection half = connect(tcp_pair(), options);
  Closing closing;
  watch(*half.stream, closing);
  bool ended = false;
  ASSERT_TRUE(
      half.stream->set_read_callback([&](std::string_view bytes) { ended = bytes.empty(); }).ok());
  ASSERT_EQ(::shutdown(half.peer.get(), SHUT_WR), 0);
  run_until([&] { return ended; });
  const std::string sent = numbered_bytes(8 * kLarge);
  half.stream->write(sent);
  half.stream->shutdown_write();
  EXPECT_TRUE(receive(half.peer, sent.size() + 1) == sent);
  run_until([&] { return closing.times > 0; });
  EXPECT_TRUE(closing.reason.ok()) << closing.reason;
}

// ---- A handler that is still at its answer when the peer ends

class IOStreamLateAnswer : public StreamTest {
 protected:
  // Reads a line, awaits something else, and answers.
  void answer_late(const std::shared_ptr<IOStream>& stream) {
    loop_->spawn_callback([this, stream]() -> Task<void> {
      const absl::StatusOr<std::string> line = co_await stream->read_until("\n");
      EXPECT_TRUE(line.ok()) << line.status();
      begun_ = true;
      co_await answer_;
      written_ = co_await stream->write("re: " + *line);
      next_ = (co_await stream->read_until("\n")).status();
      stream->close();
    });
  }
  void ask_and_end(const UniqueFd& peer) {
    write_all(peer.get(), "question\n");
    ASSERT_EQ(::shutdown(peer.get(), SHUT_WR), 0);
    run_until([&] { return begun_; });
  }

  Promise<void> promise_;
  Future<void> answer_ = promise_.get_future();
  bool begun_ = false;
  std::optional<absl::Status> written_, next_;
};
GYRE_FOR_EACH_BACKEND(IOStreamLateAnswer);

// Tornado's rule: who has ended is gone, and whoever works for him learns it at once.
TEST_P(IOStreamLateAnswer, WithoutHalfCloseComesToNobodyAndSaysSo) {
  const Connection connection = connect(tcp_pair());
  Closing closing;
  watch(*connection.stream, closing);
  answer_late(connection.stream);
  ask_and_end(connection.peer);
  run_until([&] { return closing.times > 0; });
  EXPECT_TRUE(closing.reason.ok()) << closing.reason;
  EXPECT_FALSE(written_.has_value()) << "the handler is at its answer";
  promise_.set_value();
  run_until([&] { return next_.has_value(); });
  EXPECT_EQ(written_->code(), StatusCode::kCancelled);
  EXPECT_EQ(next_->code(), StatusCode::kOutOfRange);
  EXPECT_TRUE(at_end(connection.peer.get()));
}

TEST_P(IOStreamLateAnswer, WithHalfCloseArrivesAndTheNextReadSeesTheEnd) {
  IOStreamOptions options;
  options.allow_half_close = true;
  const Connection connection = connect(tcp_pair(), options);
  Closing closing;
  watch(*connection.stream, closing);
  answer_late(connection.stream);
  ask_and_end(connection.peer);
  run_turns(10);
  EXPECT_FALSE(connection.stream->closed());
  promise_.set_value();
  EXPECT_EQ(receive(connection.peer, 100), "re: question\n");
  run_until([&] { return closing.times > 0; });
  EXPECT_TRUE(written_->ok()) << *written_;
  EXPECT_EQ(next_->code(), StatusCode::kOutOfRange);
  EXPECT_TRUE(closing.reason.ok()) << closing.reason;
}

// ---- A reset

TEST_P(IOStreamHalfClose, AResetIsWhatThePeerSees) {
  stream_.reset(absl::AbortedError("a protocol error"));
  EXPECT_TRUE(stream_.closed());
  char byte;
  run_until([&] { return ::recv(connection_.peer.get(), &byte, 1, 0) < 0 && errno != EAGAIN; });
  EXPECT_EQ(errno, ECONNRESET);
  run_until([&] { return closing_.times > 0; });
  EXPECT_EQ(closing_.reason.code(), StatusCode::kAborted);
}

TEST_P(IOStreamHalfClose, AResetDropsWhatWaitsAndFailsWhoWaits) {
  absl::Status written;
  loop_->spawn_callback(
      [&]() -> Task<void> { written = co_await stream_.write(std::string(32 * kLarge, 'x')); });
  run_turns(2);
  stream_.reset();
  run_until([&] { return closing_.times > 0; });
  EXPECT_EQ(written.code(), StatusCode::kCancelled);
  EXPECT_TRUE(closing_.reason.ok()) << closing_.reason;
  std::string received;
  char buffer[4096];
  ssize_t n;
  run_until([&] {
    while ((n = ::recv(connection_.peer.get(), buffer, sizeof(buffer), 0)) > 0) {
      received.append(buffer, n);
    }
    return n == 0 || errno != EAGAIN;
  });
  EXPECT_LT(n, 0);
  EXPECT_LT(received.size(), 32 * kLarge);
}

TEST_P(IOStreamHalfClose, AResetAfterAHalfCloseAndTwiceIsOneClose) {
  stream_.shutdown_write();
  stream_.reset();
  stream_.reset(absl::DataLossError("too late"));
  run_until([&] { return closing_.times > 0; });
  run_turns(3);
  EXPECT_EQ(closing_.times, 1);
  EXPECT_TRUE(closing_.reason.ok()) << closing_.reason;
}

TEST_P(IOStreamHalfClose, AResetOfASocketWithoutOneJustCloses) {
  const Connection local = connect(socket_pair());
  local.stream->reset();
  EXPECT_TRUE(at_end(local.peer.get()));
}

}  // namespace
}  // namespace gyre::testing
