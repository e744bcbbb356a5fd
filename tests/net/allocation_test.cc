// What a request costs of the heap in steady state, on every backend.

#include <sys/socket.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "gyre/loop/task.h"
#include "gyre/net/io_stream.h"
#include "gyre/net/loop_connections.h"
#include "gyre/tests/net/stream_fixture.h"
#include "gyre/tests/support/allocation_count.h"
#include "gyre/tests/support/sockets.h"

namespace gyre::testing {
namespace {

constexpr uint64_t kRequests = 10000;
// Until every buffer, table and arena has the size that it keeps.
constexpr uint64_t kWarmUp = 100;

#if defined(__SANITIZE_ADDRESS__)
constexpr bool kPostsAllocate = true;
#else
constexpr bool kPostsAllocate = false;
#endif

class Allocation : public StreamTest {
 protected:
  // Sends a request of `bytes`, the next one when it is answered, and so on. Gives the allocations
  // of kRequests of them: the loop's, the server's and this client's, which has none of its own.
  uint64_t count_allocations(size_t bytes) {
    const std::string request(bytes, 'r');
    absl::StatusOr<std::shared_ptr<IOStream>> client = IOStream::create(*loop_, std::move(pair_.b));
    EXPECT_TRUE(client.ok()) << client.status();
    uint64_t answers = 0, before = 0, counted = 0;
    size_t received = 0;
    const absl::Status status =
        (*client)->set_read_callback([&, client = client->get()](std::string_view answer) {
          received += answer.size();
          if (received < bytes) return;
          received = 0;
          ++answers;
          if (answers == kWarmUp) before = allocations();
          if (answers == kWarmUp + kRequests) {
            counted = allocations() - before;
            loop_->stop();
          }
          client->write(request);
        });
    EXPECT_TRUE(status.ok()) << status;
    (*client)->write(request);
    run();
    EXPECT_EQ(answers, kWarmUp + kRequests);
    (*client)->close();
    run_turns(2);
    return counted;
  }

  std::shared_ptr<IOStream> serve(FdPair pair) {
    pair_ = std::move(pair);
    absl::StatusOr<std::shared_ptr<IOStream>> server = IOStream::create(*loop_, std::move(pair_.a));
    EXPECT_TRUE(server.ok()) << server.status();
    return *std::move(server);
  }
  void echo_from_a_callback(FdPair pair) {
    const std::shared_ptr<IOStream> server = serve(std::move(pair));
    server
        ->set_read_callback(
            [server = server.get()](std::string_view bytes) { server->write(bytes); })
        .IgnoreError();
  }

  FdPair pair_;
};
GYRE_FOR_EACH_BACKEND(Allocation);

TEST_P(Allocation, IsCounted) {
  const uint64_t before = allocations();
  const auto owned = std::make_unique<int>(1);
  EXPECT_EQ(allocations(), before + 1);
}

TEST_P(Allocation, OfAnEchoInAReadCallbackIsNone) {
  echo_from_a_callback(socket_pair());
  EXPECT_EQ(count_allocations(100), 0u);
}

TEST_P(Allocation, OfAnEchoInAReadCallbackOverTcpIsNone) {
  echo_from_a_callback(tcp_pair());
  EXPECT_EQ(count_allocations(100), 0u);
}

// Larger than what is collected in a read callback before it is sent.
TEST_P(Allocation, OfALargeEchoInAReadCallbackIsNone) {
  echo_from_a_callback(socket_pair());
  EXPECT_EQ(count_allocations(20 * 1024), 0u);
}

// Its frame is allocated once for the connection. For a request there are the buffer that the read
// collects in and the awaiter's result; the bytes themselves fit into a std::string.
TEST_P(Allocation, OfAnEchoInACoroutineIsAtMostTwoForARequest) {
  loop_->spawn_callback(
      [](std::shared_ptr<IOStream> server) -> Task<void> {
        for (;;) {
          const absl::StatusOr<std::string> request = co_await server->read_bytes(8);
          if (!request.ok()) co_return;
          if (!(co_await server->write(*request)).ok()) co_return;
        }
      },
      serve(socket_pair()));
  EXPECT_LE(count_allocations(8), 2 * kRequests);
}

// Those, and the bytes, which do not fit.
TEST_P(Allocation, OfALongEchoInACoroutineIsAtMostThreeForARequest) {
  loop_->spawn_callback(
      [](std::shared_ptr<IOStream> server) -> Task<void> {
        for (;;) {
          const absl::StatusOr<std::string> request = co_await server->read_bytes(100);
          if (!request.ok()) co_return;
          server->write(*request);
        }
      },
      serve(socket_pair()));
  EXPECT_LE(count_allocations(100), 3 * kRequests);
}

// Into a buffer in its frame.
TEST_P(Allocation, OfAnEchoInACoroutineThatReadsIntoABufferIsNone) {
  loop_->spawn_callback(
      [](std::shared_ptr<IOStream> server) -> Task<void> {
        std::array<char, 200> buffer;
        for (;;) {
          const absl::StatusOr<size_t> count = co_await server->read_into(buffer, /*partial=*/true);
          if (!count.ok()) co_return;
          if (!(co_await server->write({buffer.data(), *count})).ok()) co_return;
        }
      },
      serve(socket_pair()));
  EXPECT_EQ(count_allocations(100), 0u);
}

// An idle connection with its callbacks and its idle timeout, in the books of a server: with the
// heap's own word and 24 bytes in the loop's table less than 256 bytes.
TEST_P(Allocation, OfAnIdleConnectionIsOneBlockOf192Bytes) {
  constexpr uint64_t kConnections = 100;
  constexpr size_t kBytes = sizeof(IOStream) + 2 * sizeof(void*);  // and its reference counts
  EXPECT_LE(kBytes, 192u);
  const auto books = std::make_shared<internal::LoopConnections>(*loop_);
  std::vector<FdPair> pairs(kConnections + 1);
  for (FdPair& pair : pairs) pair = socket_pair();
  std::vector<std::shared_ptr<IOStream>> streams;
  streams.reserve(pairs.size());
  IOStreamOptions options;
  options.idle_timeout = std::chrono::seconds(60);
  const auto open = [&](FdPair& pair) {
    streams.push_back(IOStream::create(*loop_, std::move(pair.a), options).value());
    IOStream* const stream = streams.back().get();
    books->count_assigned();
    books->add(*stream);
    stream->set_close_callback([stream](const absl::Status&) { stream->loop().stop(); });
    stream->set_read_callback([stream](std::string_view bytes) { stream->write(bytes); })
        .IgnoreError();
    run_turns(2);
  };
  // The highest fd first, so that the tables have their size.
  open(pairs.back());
  const uint64_t blocks_before = allocations_of_size(kBytes);
  const uint64_t before = allocations();
  run_turns(2);
  const uint64_t of_turns = allocations() - before;
  for (size_t i = 0; i < kConnections; ++i) open(pairs[i]);
  EXPECT_EQ(allocations_of_size(kBytes) - blocks_before, kConnections);
  if (!kPostsAllocate) {
    EXPECT_LE(allocations() - before - of_turns, (of_turns + 1) * kConnections);
  }
}

// From its making to its end. Nobody asks for the reason, so nobody puts it into words.
TEST_P(Allocation, OfAConnectionThatItsPeerResetsIsOneBlock) {
  constexpr uint64_t kConnections = 100;
  std::vector<FdPair> pairs(kConnections + 1);
  for (FdPair& pair : pairs) pair = tcp_pair();
  int ended = 0;
  const auto serve_one = [&](FdPair& pair) {
    const std::weak_ptr<IOStream> stream = [&] {
      std::shared_ptr<IOStream> made = IOStream::create(*loop_, std::move(pair.a)).value();
      made->set_read_callback([](std::string_view) {}).IgnoreError();
      return made;
    }();
    run_turns(2);
    const linger reset{1, 0};
    ::setsockopt(pair.b.get(), SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
    pair.b.reset();
    run_turns(2);
    ended += stream.expired();
  };
  serve_one(pairs.back());  // the highest fd first, so that the tables have their size
  uint64_t before = allocations();
  for (int i = 0; i < 2; ++i) run_turns(2);
  const uint64_t of_turns = allocations() - before;
  before = allocations();
  for (size_t i = 0; i < kConnections; ++i) serve_one(pairs[i]);
  const uint64_t made = allocations() - before;
  EXPECT_EQ(ended, static_cast<int>(kConnections) + 1);
  if (!kPostsAllocate) {
    EXPECT_LE(made, (of_turns + 1) * kConnections);
  }
}

// The buffer, the bytes, and the callback with what waits for it.
TEST_P(Allocation, OfAReadWithACallbackIsAtMostThreeForARequest) {
  const std::shared_ptr<IOStream> server = serve(socket_pair());
  struct Echo {
    IOStream* server;
    void operator()(absl::StatusOr<std::string> request) const {
      if (!request.ok()) return;
      server->write(*request);
      server->read_bytes(100, Echo(*this));
    }
  };
  server->read_bytes(100, Echo{server.get()});
  EXPECT_LE(count_allocations(100), 3 * kRequests);
}

}  // namespace
}  // namespace gyre::testing
