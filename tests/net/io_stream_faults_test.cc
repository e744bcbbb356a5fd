// What a stream does with a kernel that is short of something, on every backend. This program's
// recv, send and sendmsg stand in for the C library's, and fail as the test asks.

#include <dlfcn.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <deque>
#include <string>
#include <utility>

#include "gtest/gtest.h"
#include "gyre/loop/task.h"
#include "gyre/net/io_stream.h"
#include "gyre/tests/net/stream_fixture.h"
#include "gyre/tests/support/sockets.h"

namespace {

// What the next calls on one fd do.
struct Fault {
  int error = 0;         // errno; 0: none
  size_t at_most = ~0u;  // bytes
};
int faulty_fd = -1;
std::deque<Fault> send_faults;     // each for one call
std::deque<Fault> receive_faults;  // each for one call
size_t send_at_most = ~0u;         // for all calls
size_t receive_at_most = ~0u;
int sends = 0;

template <class F>
F* real(const char* name, F*) {
  return reinterpret_cast<F*>(::dlsym(RTLD_NEXT, name));
}

// False: fails with errno.
bool next(std::deque<Fault>& faults, size_t& size, size_t at_most) {
  Fault fault;
  if (!faults.empty()) {
    fault = faults.front();
    faults.pop_front();
  }
  size = std::min({size, at_most, fault.at_most});
  errno = fault.error;
  return fault.error == 0;
}

}  // namespace

extern "C" {

ssize_t send(int fd, const void* data, size_t size, int flags) {
  static auto* const call = real("send", &send);
  if (fd == faulty_fd) {
    ++sends;
    if (!next(send_faults, size, send_at_most)) return -1;
  }
  return call(fd, data, size, flags);
}

ssize_t sendmsg(int fd, const msghdr* message, int flags) {
  static auto* const call = real("sendmsg", &sendmsg);
  if (fd != faulty_fd) return call(fd, message, flags);
  ++sends;
  size_t size = 0;
  for (size_t i = 0; i < message->msg_iovlen; ++i) size += message->msg_iov[i].iov_len;
  const size_t whole = size;
  if (!next(send_faults, size, send_at_most)) return -1;
  if (size == whole) return call(fd, message, flags);
  // A part of the first piece is a part of the whole.
  iovec first = message->msg_iov[0];
  first.iov_len = std::min(first.iov_len, size);
  msghdr part = *message;
  part.msg_iov = &first;
  part.msg_iovlen = 1;
  return call(fd, &part, flags);
}

ssize_t recv(int fd, void* data, size_t size, int flags) {
  static auto* const call = real("recv", &recv);
  if (fd == faulty_fd && !next(receive_faults, size, receive_at_most)) return -1;
  return call(fd, data, size, flags);
}

}  // extern "C"

namespace gyre::testing {
namespace {

using absl::StatusCode;

class IOStreamFaults : public StreamTest {
 protected:
  IOStreamFaults() { faulty_fd = stream_.fileno(); }
  ~IOStreamFaults() override {
    faulty_fd = -1;
    send_faults.clear();
    receive_faults.clear();
    send_at_most = receive_at_most = ~0u;
    sends = 0;
  }

  Connection connection_ = connect(socket_pair());
  IOStream& stream_ = *connection_.stream;
};
GYRE_FOR_EACH_BACKEND(IOStreamFaults);

TEST_P(IOStreamFaults, OneByteAtATimeNothingIsLost) {
  send_at_most = receive_at_most = 1;
  std::string received;
  ASSERT_TRUE(stream_
                  .set_read_callback([&](std::string_view bytes) {
                    received += bytes;
                    stream_.write(bytes);
                    stream_.write("+");
                  })
                  .ok());
  write_all(connection_.peer.get(), "abcdefgh");
  // A short read is no sign that there is more: the peer's end is one.
  ASSERT_EQ(::shutdown(connection_.peer.get(), SHUT_WR), 0);
  EXPECT_EQ(receive(connection_.peer, 16), "a+b+c+d+e+f+g+h+");
  EXPECT_EQ(received, "abcdefgh");
}

TEST_P(IOStreamFaults, AnInterruptedCallIsMadeAgain) {
  send_faults = {{.error = EINTR}, {.error = EINTR}};
  EXPECT_TRUE(stream_.write("hello").accepted());
  EXPECT_EQ(read_available(connection_.peer.get()), "hello");
  receive_faults = {{.error = EINTR}};
  write_all(connection_.peer.get(), "x");
  run_task([&]() -> Task<void> { EXPECT_EQ(*co_await stream_.read_bytes(1), "x"); });
}

TEST_P(IOStreamFaults, AFirstWriteThatWouldBlockIsSentWithTheNextEvent) {
  send_faults = {{.error = EAGAIN}};
  bool done = false;
  loop_->spawn_callback([&]() -> Task<void> {
    EXPECT_TRUE((co_await stream_.write("hello")).ok());
    done = true;
  });
  run_turns(1);
  run_until([&] { return done; });
  EXPECT_EQ(read_available(connection_.peer.get()), "hello");
}

TEST_P(IOStreamFaults, AShortWriteOfPiecesIsGoneOnWithAtTheRightPlace) {
  for (size_t first = 0; first <= 9; ++first) {
    send_faults = {{.at_most = first}};
    if (first == 0) send_faults = {{.error = EAGAIN}};
    const std::string_view pieces[] = {"abc", "def", "ghi"};
    EXPECT_TRUE(stream_.write(pieces).accepted());
    const auto shared = std::make_shared<const std::string>("jkl");
    EXPECT_TRUE(stream_.write(shared).accepted());
    EXPECT_EQ(receive(connection_.peer, 12), "abcdefghijkl") << first;
  }
}

// No event tells when there are buffers again.
TEST_P(IOStreamFaults, WithoutBuffersItTriesAgainAfterAWhileAndDoesNotSpin) {
  for (const int error : {ENOBUFS, ENOMEM}) {
    sends = 0;
    send_faults.assign(3, {.error = error});
    EXPECT_TRUE(stream_.write("hello").accepted());
    std::string received;
    run_until([&] {
      virtual_time_.clock.advance(std::chrono::microseconds(50));
      received += read_available(connection_.peer.get());
      return received.size() == 5;
    });
    EXPECT_EQ(received, "hello");
    EXPECT_LE(sends, 8) << "a try for each event or delay, and not for each turn";
  }
  EXPECT_FALSE(stream_.closed());
}

TEST_P(IOStreamFaults, AnErrorOfAnyWriteClosesTheStreamWithIt) {
  Closing closing;
  watch(stream_, closing);
  send_faults = {{.error = EAGAIN}, {.error = EPIPE}};
  EXPECT_TRUE(stream_.write("hello").accepted());
  run_until([&] { return closing.times > 0; });
  EXPECT_EQ(closing.reason.code(), StatusCode::kUnavailable) << closing.reason;
  EXPECT_EQ(stream_.bytes_sent(), 0u);
  EXPECT_EQ(stream_.write_buffer_size(), 0u);
}

TEST_P(IOStreamFaults, AnErrorInAReadCallbackClosesTheStreamAfterIt) {
  Closing closing;
  watch(stream_, closing);
  send_faults = {{.error = ECONNRESET}};
  ASSERT_TRUE(stream_.set_read_callback([&](std::string_view b) { stream_.write(b); }).ok());
  write_all(connection_.peer.get(), "x");
  run_until([&] { return closing.times > 0; });
  EXPECT_EQ(closing.reason.code(), StatusCode::kUnavailable);
  EXPECT_EQ(stream_.bytes_sent(), 0u);
}

// The second part finds the first one queued, and must neither overtake nor repeat it.
TEST_P(IOStreamFaults, MoreThanIsCollectedInACallbackKeepsItsOrderWhenTheFirstPartHasToWait) {
  send_faults = {{.error = EAGAIN}};
  std::string sent;
  ASSERT_TRUE(
      stream_
          .set_read_callback([&](std::string_view) {
            for (int i = 0; i < 10; ++i) {
              const std::string bytes = numbered_bytes(15000);
              const auto half = std::string_view(bytes).substr(7000);
              const std::string_view pieces[] = {std::string_view(bytes).substr(0, 7000), half};
              EXPECT_TRUE(stream_.write(pieces).accepted());
              sent += bytes;
            }
          })
          .ok());
  write_all(connection_.peer.get(), "?");
  run_until([&] { return !sent.empty(); });
  EXPECT_TRUE(receive(connection_.peer, sent.size()) == sent);
  EXPECT_EQ(stream_.bytes_sent(), sent.size());
}

TEST_P(IOStreamFaults, WhatWasNotSentIsNotCounted) {
  ASSERT_TRUE(stream_
                  .set_read_callback([&](std::string_view) {
                    stream_.write("abcdef");
                    EXPECT_FALSE(stream_.write(std::string(20000, 'x')).accepted());
                    EXPECT_FALSE(stream_.write("late").accepted());
                  })
                  .ok());
  send_faults = {{.error = EPIPE}};
  write_all(connection_.peer.get(), "?");
  run_until([&] { return stream_.closed(); });
  EXPECT_EQ(stream_.bytes_sent(), 0u);
}

TEST_P(IOStreamFaults, AReceiveErrorFailsTheReadAndClosesTheStream) {
  receive_faults = {{.error = ETIMEDOUT}};
  absl::Status read;
  stream_.read_bytes(1, [&](const absl::StatusOr<std::string>& r) { read = r.status(); });
  write_all(connection_.peer.get(), "x");
  run_until([&] { return !read.ok(); });
  EXPECT_EQ(read.code(), StatusCode::kDeadlineExceeded) << read;
  EXPECT_TRUE(stream_.closed());
}

TEST_P(IOStreamFaults, AnEventWithoutAByteIsNothing) {
  std::string received;
  ASSERT_TRUE(stream_.set_read_callback([&](std::string_view bytes) { received += bytes; }).ok());
  run_turns(2);
  receive_faults = {{.error = EAGAIN}};
  write_all(connection_.peer.get(), "x");
  run_turns(2);
  write_all(connection_.peer.get(), "y");
  run_until([&] { return received == "xy"; });
}

}  // namespace
}  // namespace gyre::testing
