// Ending one direction, and ending with a reset; on every backend.

#include <sys/socket.h>

#include <cerrno>
#include <string>
#include <utility>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
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
