// Connecting, on every backend.

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "gyre/net/io_stream.h"
#include "gyre/net/listen_socket.h"
#include "gyre/net/socket_address.h"
#include "gyre/tests/net/stream_fixture.h"
#include "gyre/tests/support/on_destroy.h"
#include "gyre/tests/support/sockets.h"

namespace gyre::testing {
namespace {

using absl::StatusCode;
using ::testing::HasSubstr;

using Connected = absl::StatusOr<std::shared_ptr<IOStream>>;

SocketAddress loopback(uint16_t port = 0) {
  return SocketAddress::parse("127.0.0.1", port).value();
}

class IOStreamConnect : public StreamTest {
 protected:
  // Connects, and gives what the callback was given.
  Connected connect_to(const SocketAddress& address) {
    int calls = 0;
    Connected result;
    IOStream::connect(*loop_, address, [&](Connected stream) {
      ++calls;
      result = std::move(stream);
    });
    EXPECT_EQ(calls, 0) << "never inside the call";
    run_until([&] { return calls > 0; });
    run_turns(2);
    EXPECT_EQ(calls, 1);
    return result;
  }
  UniqueFd accept() {
    UniqueFd fd;
    run_until([&] {
      fd = UniqueFd(::accept(listener_.fileno(), nullptr, nullptr));
      return static_cast<bool>(fd);
    });
    make_nonblocking(fd.get());
    return fd;
  }

  ListenSocket listener_ = ListenSocket::bind(loopback()).value();
};
GYRE_FOR_EACH_BACKEND(IOStreamConnect);

TEST_P(IOStreamConnect, GivesAStreamThatReadsAndWrites) {
  const Connected stream = connect_to(listener_.address());
  ASSERT_TRUE(stream.ok()) << stream.status();
  EXPECT_EQ(&(*stream)->loop(), loop_.get());
  EXPECT_EQ((*stream)->peer_address().value(), listener_.address());
  const UniqueFd peer = accept();
  (*stream)->write("ping");
  EXPECT_EQ(receive(peer, 4), "ping");
  std::string answer;
  (*stream)->read_bytes(4, [&](absl::StatusOr<std::string> result) { answer = *result; });
  write_all(peer.get(), "pong");
  run_until([&] { return answer == "pong"; });
}

TEST_P(IOStreamConnect, ItsSocketIsNonBlockingClosedOnExecAndWithoutDelay) {
  const Connected stream = connect_to(listener_.address());
  ASSERT_TRUE(stream.ok()) << stream.status();
  const int fd = (*stream)->fileno();
  EXPECT_NE(::fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
  EXPECT_NE(::fcntl(fd, F_GETFD) & FD_CLOEXEC, 0);
  const auto no_delay = [fd] {
    int value = -1;
    socklen_t size = sizeof(value);
    ::getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &value, &size);
    return value != 0;
  };
  EXPECT_TRUE(no_delay());
  (*stream)->set_nodelay(false);
  EXPECT_FALSE(no_delay());
  (*stream)->set_nodelay(true);
  EXPECT_TRUE(no_delay());
}

TEST_P(IOStreamConnect, TheStreamMayBeDroppedAndStaysOpen) {
  bool connected = false;
  IOStream::connect(*loop_, listener_.address(), [&](Connected stream) {
    connected = stream.ok();
    (*stream)->write("dropped, not closed");
  });
  run_until([&] { return connected; });
  const UniqueFd peer = accept();
  EXPECT_EQ(receive(peer, 19), "dropped, not closed");
  EXPECT_FALSE(at_end(peer.get()));
}

TEST_P(IOStreamConnect, TheOptionsAreTheStreams) {
  IOStreamOptions options;
  options.max_buffer_size = 10;
  absl::Status read;
  IOStream::connect(
      *loop_, listener_.address(),
      [&](Connected stream) {
        (*stream)->read_bytes(11,
                              [&](absl::StatusOr<std::string> result) { read = result.status(); });
      },
      options);
  run_until([&] { return !read.ok(); });
  EXPECT_EQ(read.code(), StatusCode::kInvalidArgument);
}

TEST_P(IOStreamConnect, ManyAtATimeAreEachToldOnce) {
  constexpr int kCount = 50;
  std::vector<int> calls(kCount);
  std::vector<std::shared_ptr<IOStream>> streams;
  for (int i = 0; i < kCount; ++i) {
    IOStream::connect(*loop_, listener_.address(), [&, i](Connected stream) {
      ++calls[i];
      if (stream.ok()) streams.push_back(*std::move(stream));
    });
  }
  run_until([&] { return streams.size() == kCount; });
  run_turns(5);
  EXPECT_THAT(calls, ::testing::Each(1));
}

// ---- Failures

TEST_P(IOStreamConnect, RefusedIsUnavailableAndNamesTheAddress) {
  const SocketAddress address = listener_.address();
  listener_.close();
  const int fds = count_open_fds();
  const Connected stream = connect_to(address);
  EXPECT_EQ(stream.status().code(), StatusCode::kUnavailable) << stream.status();
  EXPECT_THAT(std::string(stream.status().message()), HasSubstr(address.to_string()));
  EXPECT_EQ(count_open_fds(), fds);
}

TEST_P(IOStreamConnect, NoAddressIsAnErrorThroughTheCallback) {
  const int fds = count_open_fds();
  EXPECT_FALSE(connect_to(SocketAddress()).ok());
  EXPECT_EQ(count_open_fds(), fds);
}

// The kernel refuses it inside of connect(2): a TCP connection has no broadcast address.
TEST_P(IOStreamConnect, AnErrorInsideOfTheCallComesThroughTheCallbackToo) {
  const int fds = count_open_fds();
  const Connected stream = connect_to(SocketAddress::parse("255.255.255.255", 80).value());
  EXPECT_FALSE(stream.ok());
  EXPECT_THAT(std::string(stream.status().message()), HasSubstr("255.255.255.255:80"));
  EXPECT_EQ(count_open_fds(), fds);
}

TEST_P(IOStreamConnect, ACallbackThatThrowsIsLoggedAndLeavesNoFd) {
  log_.expect(LogLevel::kError, "from the connect callback");
  const int fds = count_open_fds();
  bool called = false;
  const SocketAddress address = listener_.address();
  listener_.close();
  IOStream::connect(*loop_, address, [&](const Connected&) {
    called = true;
    throw std::runtime_error("from the connect callback");
  });
  run_until([&] { return called; });
  run_turns(2);
  EXPECT_EQ(count_open_fds(), fds - 1) << "without the listener's";
}

// ---- A loop that is closed meanwhile

TEST_P(IOStreamConnect, OnALoopThatIsClosedMeanwhileIsNotToldAndLeavesNoFd) {
  const int fds = count_open_fds();
  bool called = false, destroyed = false;
  std::unique_ptr<IOLoop> loop = make_loop();
  IOStream::connect(
      *loop, listener_.address(),
      [&, n = OnDestroy([&] { destroyed = true; })](const Connected&) { called = true; });
  EXPECT_FALSE(destroyed);
  loop.reset();
  EXPECT_TRUE(destroyed);
  EXPECT_FALSE(called);
  EXPECT_EQ(count_open_fds(), fds);
}

TEST_P(IOStreamConnect, OnAClosedLoopIsNotToldAndLeavesNoFd) {
  EXPECT_TRUE(loop_->close().ok());
  const int fds = count_open_fds();
  bool called = false, destroyed = false;
  IOStream::connect(
      *loop_, listener_.address(),
      [&, n = OnDestroy([&] { destroyed = true; })](const Connected&) { called = true; });
  EXPECT_TRUE(destroyed);
  EXPECT_FALSE(called);
  EXPECT_EQ(count_open_fds(), fds);
}

// The listener's queue is full: the kernel keeps the caller waiting.
TEST_P(IOStreamConnect, AConnectionThatIsNotAnsweredWaitsWithoutSpinning) {
  ListenOptions options;
  options.backlog = 0;
  const ListenSocket full = ListenSocket::bind(loopback(), options).value();
  int called = 0;
  constexpr int kMoreThanItQueues = 8;
  for (int i = 0; i < kMoreThanItQueues; ++i) {
    IOStream::connect(*loop_, full.address(), [&](const Connected&) { ++called; });
  }
  run_turns(20);
  EXPECT_LT(called, kMoreThanItQueues);
  loop_->close().IgnoreError();  // gives up on the others
}

}  // namespace
}  // namespace gyre::testing
