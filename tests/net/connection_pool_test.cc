// Connections that are used again, on every backend.

#include "gyre/net/connection_pool.h"

#include <sys/socket.h>

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "gyre/net/listen_socket.h"
#include "gyre/net/socket_address.h"
#include "gyre/tests/net/stream_fixture.h"
#include "gyre/tests/support/sockets.h"

namespace gyre::testing {
namespace {

using absl::StatusCode;
using Pooled = ConnectionPool::Connection;

class ConnectionPoolTest : public StreamTest {
 protected:
  ~ConnectionPoolTest() override { pool_.reset(); }

  ConnectionPool& pool() {
    if (pool_ == nullptr) pool_ = std::make_unique<ConnectionPool>(*loop_, options_);
    return *pool_;
  }
  absl::StatusOr<Pooled> acquire(const ListenSocket& listener) {
    return loop_->run_sync(
        [&]() -> Task<absl::StatusOr<Pooled>> {
          co_return co_await pool().acquire("127.0.0.1", listener.address().port());
        },
        kDeadline);
  }
  absl::StatusOr<Pooled> acquire() { return acquire(listener_); }
  // Acquires and gives back; the fd says which connection it was.
  int use() {
    absl::StatusOr<Pooled> connection = acquire();
    EXPECT_TRUE(connection.ok()) << connection.status();
    connection->reuse();
    return (*connection)->fileno();
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
  size_t idle() { return pool().stats().idle; }

  ConnectionPoolOptions options_;
  ListenSocket listener_ = ListenSocket::bind(SocketAddress::parse("127.0.0.1", 0).value()).value();
  std::unique_ptr<ConnectionPool> pool_;
};
GYRE_FOR_EACH_BACKEND(ConnectionPoolTest);

// Of its last user, who may be gone.
TEST_P(ConnectionPoolTest, AConnectionThatIsUsedAgainHasNoWatermarks) {
  int calls = 0;
  {
    absl::StatusOr<Pooled> first = acquire();
    ASSERT_TRUE(first.ok()) << first.status();
    ASSERT_TRUE((*first)->set_watermarks(0, 1, [&](bool) { ++calls; }).ok());
    first->reuse();
  }
  absl::StatusOr<Pooled> second = acquire();
  ASSERT_TRUE(second.ok()) << second.status();
  ASSERT_TRUE(second->reused());
  bool later = false;
  loop_->add_callback([&] {
    (*second)->write(std::string(16 << 20, 'x'));
    EXPECT_GT((*second)->write_buffer_size(), 1u);
    loop_->add_callback([&] { later = true; });
  });
  run_until([&] { return later; });
  EXPECT_EQ(calls, 0);
}

TEST_P(ConnectionPoolTest, AConnectionThatWasGivenBackIsUsedAgain) {
  int fd = -1;
  {
    absl::StatusOr<Pooled> first = acquire();
    ASSERT_TRUE(first.ok()) << first.status();
    EXPECT_FALSE(first->reused());
    fd = (*first)->fileno();
    first->reuse();
  }
  EXPECT_EQ(idle(), 1u);
  EXPECT_EQ(pool().idle("127.0.0.1", listener_.address().port()), 1u);
  const absl::StatusOr<Pooled> second = acquire();
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_TRUE(second->reused());
  EXPECT_EQ((*second)->fileno(), fd);
  EXPECT_EQ(idle(), 0u);
  EXPECT_EQ(pool().stats().connected, 1u);
  EXPECT_EQ(pool().stats().reused, 1u);
}

TEST_P(ConnectionPoolTest, ItWorksAsBefore) {
  use();
  const UniqueFd peer = accept();
  for (int i = 0; i < 3; ++i) {
    absl::StatusOr<Pooled> connection = acquire();
    ASSERT_TRUE(connection.ok());
    EXPECT_TRUE(connection->reused());
    std::string answer;
    (*connection)->write("ping");
    EXPECT_EQ(receive(peer, 4), "ping");
    write_all(peer.get(), "pong");
    run_task([&]() -> Task<void> { answer = (co_await (*connection)->read_bytes(4)).value(); });
    EXPECT_EQ(answer, "pong");
    connection->reuse();
  }
}

TEST_P(ConnectionPoolTest, OneThatIsNotReusableIsClosed) {
  { EXPECT_TRUE(acquire().ok()); }
  EXPECT_EQ(idle(), 0u);
  const UniqueFd peer = accept();
  run_until([&] { return at_end(peer.get()); });
}

TEST_P(ConnectionPoolTest, TheOneThatWasUsedLastIsFirst) {
  absl::StatusOr<Pooled> a = acquire(), b = acquire();
  const int fd_a = (*a)->fileno();
  b->reuse();
  a->reuse();
  { const Pooled gone_first = *std::move(b); }
  { const Pooled gone_second = *std::move(a); }
  EXPECT_EQ(idle(), 2u);
  EXPECT_EQ((*acquire())->fileno(), fd_a);
}

TEST_P(ConnectionPoolTest, EachEndpointHasItsOwn) {
  const ListenSocket other =
      ListenSocket::bind(SocketAddress::parse("127.0.0.1", 0).value()).value();
  use();
  const absl::StatusOr<Pooled> connection = acquire(other);
  ASSERT_TRUE(connection.ok());
  EXPECT_FALSE(connection->reused());
  EXPECT_EQ(idle(), 1u);
}

// ---- Dead ones

TEST_P(ConnectionPoolTest, OneThatTheServerEndsWhileItIsIdleIsDropped) {
  use();
  { const UniqueFd peer = accept(); }
  run_until([&] { return idle() == 0; });
  EXPECT_EQ(pool().stats().ended, 1u);
}

TEST_P(ConnectionPoolTest, OneThatIsSentWhatNobodyAskedForIsDropped) {
  use();
  const UniqueFd peer = accept();
  write_all(peer.get(), "!");
  run_until([&] { return idle() == 0; });
  EXPECT_EQ(pool().stats().ended, 1u);
  run_until([&] { return at_end(peer.get()); });
}

// No event has told of it yet when it is asked for.
TEST_P(ConnectionPoolTest, OneThatHasJustEndedIsNotGiven) {
  for (const bool sends : {false, true}) {
    const int fd = use();
    UniqueFd peer = accept();
    if (sends) {
      write_all(peer.get(), "!");
    } else {
      peer.reset();
    }
    // On the loopback it is there when the call returns, or very soon.
    char byte;
    while (::recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0) {
    }
    const absl::StatusOr<Pooled> connection = acquire();
    ASSERT_TRUE(connection.ok());
    EXPECT_FALSE(connection->reused());
    accept();  // the new one's
  }
}

TEST_P(ConnectionPoolTest, OneWithAnAnswerThatWasNotReadIsNotKept) {
  absl::StatusOr<Pooled> connection = acquire();
  const UniqueFd peer = accept();
  write_all(peer.get(), "twice: pong pong");
  run_task([&]() -> Task<void> { static_cast<void>(co_await (*connection)->read_until(" pong")); });
  connection->reuse();
  { const Pooled gone = *std::move(connection); }
  run_until([&] { return idle() == 0; });
  run_until([&] { return at_end(peer.get()); });
}

TEST_P(ConnectionPoolTest, OneThatIsReadFromOrClosedIsNotKept) {
  {
    absl::StatusOr<Pooled> reading = acquire();
    (*reading)->set_read_callback([](std::string_view) {}).IgnoreError();
    reading->reuse();
  }
  EXPECT_EQ(idle(), 0u);
  {
    absl::StatusOr<Pooled> closed = acquire();
    (*closed)->close();
    closed->reuse();
  }
  EXPECT_EQ(idle(), 0u);
}

TEST_P(ConnectionPoolTest, OneWithUnsentBytesIsNotKept) {
  absl::StatusOr<Pooled> connection = acquire();
  shrink_send_buffer((*connection)->fileno());
  (*connection)->write(std::string(8 << 20, 'x'));
  ASSERT_GT((*connection)->write_buffer_size(), 0u);
  connection->reuse();
  { const Pooled gone = *std::move(connection); }
  EXPECT_EQ(idle(), 0u);
}

// ---- Limits

TEST_P(ConnectionPoolTest, MoreThanAnEndpointMayKeepAreClosedOldestFirst) {
  options_.max_idle_per_endpoint = 2;
  std::vector<Pooled> connections;
  for (int i = 0; i < 4; ++i) connections.push_back(acquire().value());
  const int last = connections.back()->fileno();
  for (Pooled& connection : connections) connection.reuse();
  connections.clear();
  EXPECT_EQ(idle(), 2u);
  EXPECT_EQ(pool().stats().evicted, 2u);
  EXPECT_EQ((*acquire())->fileno(), last);
}

TEST_P(ConnectionPoolTest, MoreThanThePoolMayKeepAreClosedOldestFirst) {
  options_.max_idle = 2;
  const ListenSocket other =
      ListenSocket::bind(SocketAddress::parse("127.0.0.1", 0).value()).value();
  std::vector<Pooled> connections;
  connections.push_back(acquire(other).value());
  connections.push_back(acquire().value());
  connections.push_back(acquire().value());
  for (Pooled& connection : connections) connection.reuse();
  connections.clear();
  EXPECT_EQ(idle(), 2u);
  EXPECT_EQ(pool().idle("127.0.0.1", other.address().port()), 0u);
}

TEST_P(ConnectionPoolTest, NothingIsKeptWhereItIsToldTo) {
  options_.max_idle = 0;
  use();
  EXPECT_EQ(idle(), 0u);
}

TEST_P(ConnectionPoolTest, OneThatIsIdleForTooLongIsClosed) {
  options_.idle_timeout = std::chrono::seconds(50);
  use();
  EXPECT_EQ(idle(), 1u);
  const IOLoop::TimePoint begin = loop_->time();
  run_until([&] {
    virtual_time_.clock.advance(std::chrono::seconds(1));
    return idle() == 0;
  });
  EXPECT_GE(loop_->time() - begin, std::chrono::seconds(50));
  EXPECT_LE(loop_->time() - begin, std::chrono::seconds(55));
  EXPECT_EQ(pool().stats().expired, 1u);
  const UniqueFd peer = accept();
  run_until([&] { return at_end(peer.get()); });
}

// ---- The end

TEST_P(ConnectionPoolTest, ClearClosesWhatIsIdle) {
  const int fds = count_open_fds();
  use();
  pool().clear();
  EXPECT_EQ(idle(), 0u);
  EXPECT_EQ(count_open_fds(), fds);
}

TEST_P(ConnectionPoolTest, APoolThatIsDestroyedClosesWhatIsIdleAndWhatComesBack) {
  const int fds = count_open_fds();
  absl::StatusOr<Pooled> out = acquire();
  use();
  pool_.reset();
  EXPECT_EQ(count_open_fds(), fds + 1);
  out->reuse();
  { const Pooled gone = *std::move(out); }
  EXPECT_EQ(count_open_fds(), fds);
}

TEST_P(ConnectionPoolTest, APoolMayBeDestroyedWhileItConnects) {
  const int fds = count_open_fds();
  run_task([&]() -> Task<void> {
    Task<absl::StatusOr<Pooled>> task = pool().acquire("127.0.0.1", listener_.address().port());
    loop_->add_callback([this] { pool_.reset(); });
    absl::StatusOr<Pooled> connection = co_await task;
    EXPECT_TRUE(connection.ok()) << connection.status();
    connection->reuse();
  });
  EXPECT_EQ(count_open_fds(), fds);
}

TEST_P(ConnectionPoolTest, WhatCannotBeConnectedIsTheClientsError) {
  listener_.close();
  const absl::Status status = acquire().status();
  EXPECT_EQ(status.code(), StatusCode::kUnavailable) << status;
}

}  // namespace
}  // namespace gyre::testing
