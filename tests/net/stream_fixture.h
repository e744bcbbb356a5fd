#ifndef GYRE_TESTS_NET_STREAM_FIXTURE_H_
#define GYRE_TESTS_NET_STREAM_FIXTURE_H_

#include <sys/socket.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gtest/gtest.h"
#include "gyre/loop/io_loop.h"
#include "gyre/loop/unique_fd.h"
#include "gyre/net/io_stream.h"
#include "gyre/tests/support/event.h"
#include "gyre/tests/support/loop_fixture.h"
#include "gyre/tests/support/sockets.h"

namespace gyre::testing {

// The peer's end of the connection was received, and nothing is in front of it.
inline bool at_end(int fd) {
  char byte;
  return ::recv(fd, &byte, 1, MSG_PEEK) == 0;
}

// Closes a TCP connection with a reset: nothing waits to be sent (SO_LINGER of socket(7)).
inline void reset_connection(UniqueFd fd) {
  const linger at_once{.l_onoff = 1, .l_linger = 0};
  EXPECT_EQ(::setsockopt(fd.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once)), 0);
}

// As small as the kernel allows.
inline void shrink_send_buffer(int fd) {
  const int bytes = 1;
  EXPECT_EQ(::setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes)), 0);
}

// Bytes whose order shows: no two places of it look alike.
inline std::string numbered_bytes(size_t size) {
  std::string bytes;
  bytes.reserve(size + 8);
  for (uint32_t i = 0; bytes.size() < size; ++i) bytes += std::to_string(i * 2654435761u) + ' ';
  bytes.resize(size);
  return bytes;
}

// What a stream's close callback was told.
struct Closing {
  int times = 0;
  absl::Status reason;
};

// Streams on a loop, with a plain socket at the other end, in the same thread.
class StreamTest : public LoopTest {
 protected:
  using LoopTest::LoopTest;

  struct Connection {
    std::shared_ptr<IOStream> stream;
    UniqueFd peer;
  };

  Connection connect(FdPair pair, IOStreamOptions options = {}) {
    absl::StatusOr<std::shared_ptr<IOStream>> stream =
        IOStream::create(*loop_, std::move(pair.a), options);
    EXPECT_TRUE(stream.ok()) << stream.status();
    return {stream.ok() ? *std::move(stream) : nullptr, std::move(pair.b)};
  }

  static void watch(IOStream& stream, Closing& closing) {
    stream.set_close_callback([&closing](const absl::Status& reason) {
      ++closing.times;
      closing.reason = reason;
    });
  }

  // Runs the loop until `done` holds, which is asked once in each iteration. TCP needs it, also
  // over the loopback: what one end sends reaches the other end a little later. Virtual time stands
  // still meanwhile, but for what the test adds to it.
  void run_until(const std::function<bool()>& done) {
    const Patience patience;
    std::function<void()> ask = [&] {
      if (done()) return loop_->stop();
      if (!patience.left()) {
        ADD_FAILURE() << "what the test waits for did not come";
        return loop_->stop();
      }
      loop_->add_callback(ask);
    };
    loop_->add_callback(ask);
    const absl::Status status = loop_->start();
    EXPECT_TRUE(status.ok()) << status;
  }

  // Runs the loop until the peer has received that many bytes, or the end; gives them.
  std::string receive(const UniqueFd& peer, size_t bytes) {
    std::string received;
    run_until([&] {
      received += read_available(peer.get());
      return received.size() >= bytes || at_end(peer.get());
    });
    return received;
  }

  // Runs a coroutine to its end.
  template <class F>
  void run_task(F function) {
    const absl::Status status = loop_->run_sync(function, kDeadline);
    EXPECT_TRUE(status.ok()) << status;
  }
};

}  // namespace gyre::testing

#endif  // GYRE_TESTS_NET_STREAM_FIXTURE_H_
