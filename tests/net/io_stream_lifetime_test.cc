// Who keeps a stream, and what becomes of it with its loop, on every backend.

#include <chrono>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "gyre/loop/task.h"
#include "gyre/net/io_stream.h"
#include "gyre/tests/net/stream_fixture.h"
#include "gyre/tests/support/on_destroy.h"
#include "gyre/tests/support/sockets.h"

namespace gyre::testing {
namespace {

using absl::StatusCode;

// More than the buffers of a pair of sockets take.
constexpr size_t kLarge = 1024 * 1024;

class IOStreamLifetime : public StreamTest {
 protected:
  IOStreamLifetime() : StreamTest(TestTime::kVirtual) {}

  OnDestroy note() {
    return OnDestroy([this] { ++destroyed_; });
  }
  // Gives the stream away: nobody but the loop has it.
  IOStream& drop(Connection& connection) {
    IOStream& stream = *connection.stream;
    weak_ = connection.stream;
    connection.stream.reset();
    return stream;
  }

  Connection connection_ = connect(socket_pair());
  std::weak_ptr<IOStream> weak_;
  int destroyed_ = 0;
};
GYRE_FOR_EACH_BACKEND(IOStreamLifetime);

// ---- Creation

TEST_P(IOStreamLifetime, OfAClosedLoopIsFailedPreconditionAndClosesTheFd) {
  FdPair pair = socket_pair();
  const int fd = pair.a.get();
  EXPECT_TRUE(loop_->close().ok());
  const absl::Status status = IOStream::create(*loop_, std::move(pair.a)).status();
  EXPECT_EQ(status.code(), StatusCode::kFailedPrecondition) << status;
  EXPECT_FALSE(is_open(fd));
}

TEST_P(IOStreamLifetime, OfNoFdIsAnError) {
  EXPECT_EQ(IOStream::create(*loop_, UniqueFd()).status().code(), StatusCode::kInvalidArgument);
}

// ---- While it is open the loop keeps it

TEST_P(IOStreamLifetime, AStreamThatIsDroppedGoesOn) {
  std::string received;
  IOStream& stream = drop(connection_);
  ASSERT_TRUE(stream
                  .set_read_callback([&](std::string_view bytes) {
                    received += bytes;
                    stream.write(bytes);
                  })
                  .ok());
  write_all(connection_.peer.get(), "echo");
  EXPECT_EQ(receive(connection_.peer, 4), "echo");
  EXPECT_EQ(received, "echo");
  EXPECT_FALSE(weak_.expired());
}

TEST_P(IOStreamLifetime, OnceItIsClosedItIsGoneWithItsCallbacks) {
  IOStream& stream = drop(connection_);
  stream.set_read_callback([n = note()](std::string_view) {}).IgnoreError();
  stream.set_drain_callback([n = note()] {});
  stream.set_close_callback([n = note()](const absl::Status&) {});
  connection_.peer.reset();
  run_until([&] { return weak_.expired(); });
  run_turns(2);
  EXPECT_EQ(destroyed_, 3);
}

// A callback that holds its own stream makes a circle, which the close breaks.
TEST_P(IOStreamLifetime, ACallbackMayHoldItsOwnStream) {
  std::shared_ptr<IOStream> stream = std::move(connection_.stream);
  stream->set_read_callback([stream](std::string_view) {}).IgnoreError();
  stream->set_drain_callback([stream] {});
  stream->set_close_callback([stream](const absl::Status&) {});
  weak_ = stream;
  stream.reset();
  connection_.peer.reset();
  run_until([&] { return weak_.expired(); });
}

TEST_P(IOStreamLifetime, DroppedAndClosedInItsReadCallbackItLivesUntilTheEndOfTheEvent) {
  IOStream* stream = connection_.stream.get();
  weak_ = connection_.stream;
  bool called = false;
  ASSERT_TRUE(stream
                  ->set_read_callback([&, kept = std::string(100, 'k')](std::string_view bytes) {
                    connection_.stream.reset();
                    stream->write("last");
                    stream->close();
                    EXPECT_EQ(bytes, "x") << "still valid";
                    EXPECT_EQ(kept.size(), 100u) << "destroyed while it runs";
                    EXPECT_FALSE(weak_.expired());
                    called = true;
                  })
                  .ok());
  write_all(connection_.peer.get(), "x");
  run_until([&] { return weak_.expired(); });
  EXPECT_TRUE(called);
  EXPECT_EQ(read_available(connection_.peer.get()), "last");
}

TEST_P(IOStreamLifetime, DroppedAndClosedInItsDrainCallbackItLivesUntilTheEndOfTheEvent) {
  IOStream* stream = connection_.stream.get();
  weak_ = connection_.stream;
  stream->set_drain_callback([&, kept = std::string(100, 'k')] {
    connection_.stream.reset();
    stream->close();
    EXPECT_EQ(kept.size(), 100u) << "destroyed while it runs";
  });
  stream->write(std::string(kLarge, 'x'));
  EXPECT_EQ(receive(connection_.peer, kLarge).size(), kLarge);
  run_until([&] { return weak_.expired(); });
}

TEST_P(IOStreamLifetime, DroppedAndClosedInTheCallbackOfAReadItLivesUntilTheEndOfTheEvent) {
  IOStream* stream = connection_.stream.get();
  weak_ = connection_.stream;
  stream->read_bytes(1,
                     [&, kept = std::string(100, 'k')](const absl::StatusOr<std::string>& result) {
                       connection_.stream.reset();
                       stream->close();
                       EXPECT_EQ(*result, "x") << "still valid";
                       EXPECT_EQ(kept.size(), 100u) << "destroyed while it runs";
                     });
  write_all(connection_.peer.get(), "x");
  run_until([&] { return weak_.expired(); });
}

// Both were ready in the same poll.
TEST_P(IOStreamLifetime, AStreamThatAnotherClosesInTheSameBatchIsNotCalledAnyMore) {
  const Connection other = connect(socket_pair());
  int calls = 0;
  const auto close_both = [&](std::string_view) {
    ++calls;
    connection_.stream->close();
    other.stream->close();
  };
  ASSERT_TRUE(connection_.stream->set_read_callback(close_both).ok());
  ASSERT_TRUE(other.stream->set_read_callback(close_both).ok());
  write_all(connection_.peer.get(), "x");
  write_all(other.peer.get(), "x");
  run_turns(3);
  EXPECT_EQ(calls, 1);
}

TEST_P(IOStreamLifetime, AStreamMayBeMadeOnANumberThatWasJustClosed) {
  const int fd = connection_.stream->fileno();
  std::string received;
  ASSERT_TRUE(connection_.stream
                  ->set_read_callback([&](std::string_view) {
                    connection_.stream->close();
                    connection_ = connect(socket_pair());
                    EXPECT_EQ(connection_.stream->fileno(), fd);
                    connection_.stream
                        ->set_read_callback([&](std::string_view bytes) { received += bytes; })
                        .IgnoreError();
                    write_all(connection_.peer.get(), "second");
                  })
                  .ok());
  const UniqueFd first_peer = std::move(connection_.peer);
  write_all(first_peer.get(), "first");
  run_until([&] { return !received.empty(); });
  EXPECT_EQ(received, "second");
}

// ---- The loop is closed

TEST_P(IOStreamLifetime, WithItsLoopAStreamIsClosedAndNobodyIsTold) {
  int told = 0;
  IOStream& stream = drop(connection_);
  const int fd = stream.fileno();
  stream.set_close_callback([&, n = note()](const absl::Status&) { ++told; });
  stream.set_drain_callback([&, n = note()] { ++told; });
  stream.read_bytes(1, [&, n = note()](const absl::StatusOr<std::string>&) { ++told; });
  stream.write(std::string(kLarge, 'x'));
  run_turns(2);
  loop_.reset();
  EXPECT_EQ(told, 0);
  EXPECT_EQ(destroyed_, 3);
  EXPECT_TRUE(weak_.expired());
  EXPECT_FALSE(is_open(fd));
}

TEST_P(IOStreamLifetime, WithItsLoopsFdsAStreamIsClosedOnce) {
  IOStream& stream = drop(connection_);
  const int fd = stream.fileno();
  EXPECT_TRUE(loop_->close(/*all_fds=*/true).ok());
  EXPECT_TRUE(weak_.expired());
  EXPECT_FALSE(is_open(fd));
}

TEST_P(IOStreamLifetime, AStreamThatIsHeldWhileItsLoopClosesIsAClosedOne) {
  IOStream& stream = *connection_.stream;
  EXPECT_TRUE(loop_->close().ok());
  EXPECT_TRUE(stream.closed());
  EXPECT_FALSE(stream.write("x").accepted());
  EXPECT_FALSE(stream.set_read_callback([](std::string_view) {}).ok());
  stream.read_bytes(1, [n = note()](const absl::StatusOr<std::string>&) { ADD_FAILURE(); });
  EXPECT_EQ(destroyed_, 1);
  stream.set_close_callback([](const absl::Status&) { ADD_FAILURE(); });
  stream.close();
  stream.close_when_flushed();
}

TEST_P(IOStreamLifetime, CloseInWhatItsLoopDestroysIsHarmless) {
  const std::shared_ptr<IOStream> stream = connection_.stream;
  loop_->add_callback(
      [n = OnDestroy([stream] { stream->close(absl::AbortedError("in a destructor")); })] {});
  stream->set_close_callback([](const absl::Status&) { ADD_FAILURE(); });
  EXPECT_TRUE(loop_->close().ok());
  EXPECT_TRUE(stream->closed());
}

TEST_P(IOStreamLifetime, WhatItsEndHadStillToTellIsDroppedWithTheLoop) {
  absl::StatusOr<std::string> read = "not told";
  IOStream& stream = drop(connection_);
  stream.read_bytes(
      1, [&, n = note()](absl::StatusOr<std::string> result) { read = std::move(result); });
  stream.set_close_callback([n = note()](const absl::Status&) { ADD_FAILURE(); });
  stream.close();
  EXPECT_TRUE(loop_->close().ok());
  EXPECT_EQ(*read, "not told");
  EXPECT_EQ(destroyed_, 2);
  EXPECT_TRUE(weak_.expired());
}

// ---- Coroutines that are destroyed while they wait

TEST_P(IOStreamLifetime, ACoroutineThatReadsIsDestroyedWithTheLoop) {
  IOStream& stream = drop(connection_);
  loop_->spawn_callback([&, n = note()]() -> Task<void> {
    static_cast<void>(co_await stream.read_bytes(1));
    ADD_FAILURE() << "resumed";
  });
  run_turns(2);
  loop_.reset();
  EXPECT_EQ(destroyed_, 1);
  EXPECT_TRUE(weak_.expired());
}

TEST_P(IOStreamLifetime, ACoroutineThatWritesIsDestroyedWithTheLoop) {
  IOStream& stream = drop(connection_);
  loop_->spawn_callback([&, n = note()]() -> Task<void> {
    (co_await stream.write(std::string(kLarge, 'x'))).IgnoreError();
    ADD_FAILURE() << "resumed";
  });
  run_turns(2);
  loop_.reset();
  EXPECT_EQ(destroyed_, 1);
  EXPECT_TRUE(weak_.expired());
}

TEST_P(IOStreamLifetime, AfterAReadThatTimedOutAnotherGetsTheBytes) {
  const absl::StatusOr<std::string> first = loop_->run_sync(
      [&]() -> Task<absl::StatusOr<std::string>> {
        co_return co_await connection_.stream->read_until("\n");
      },
      std::chrono::milliseconds(1));
  EXPECT_EQ(first.status().code(), StatusCode::kDeadlineExceeded);
  write_all(connection_.peer.get(), "line\n");
  run_task(
      [&]() -> Task<void> { EXPECT_EQ(*co_await connection_.stream->read_until("\n"), "line\n"); });
}

TEST_P(IOStreamLifetime, AWriteThatTimedOutIsSentAllTheSame) {
  const std::string sent = numbered_bytes(kLarge);
  const absl::Status status = loop_->run_sync(
      [&]() -> Task<absl::Status> { co_return co_await connection_.stream->write(sent); },
      std::chrono::milliseconds(1));
  EXPECT_EQ(status.code(), StatusCode::kDeadlineExceeded);
  EXPECT_TRUE(receive(connection_.peer, sent.size()) == sent);
}

TEST_P(IOStreamLifetime, OneOfSeveralWritersMayBeDestroyedWhileItWaits) {
  std::vector<int> resumed;
  const auto writer = [&](int i) -> Task<absl::Status> {
    absl::Status status = co_await connection_.stream->write(std::string(kLarge / 4, 'x'));
    resumed.push_back(i);
    co_return status;
  };
  loop_->spawn_callback([&]() -> Task<void> { (co_await writer(0)).IgnoreError(); });
  run_turns(1);
  EXPECT_EQ(loop_->run_sync([&] { return writer(1); }, std::chrono::milliseconds(1)).code(),
            StatusCode::kDeadlineExceeded);
  loop_->spawn_callback([&]() -> Task<void> { (co_await writer(2)).IgnoreError(); });
  run_turns(1);
  EXPECT_EQ(receive(connection_.peer, 3 * (kLarge / 4)).size(), 3 * (kLarge / 4));
  run_until([&] { return resumed.size() == 2; });
  EXPECT_EQ(resumed, (std::vector<int>{0, 2}));
}

TEST_P(IOStreamLifetime, ACoroutineThatOwnsItsStreamDropsItAsItEnds) {
  weak_ = connection_.stream;
  loop_->spawn_callback(
      [](std::shared_ptr<IOStream> stream) -> Task<void> {
        const absl::StatusOr<std::string> line = co_await stream->read_until("\n");
        EXPECT_TRUE((co_await stream->write(*line)).ok());
        stream->close();
      },
      std::move(connection_.stream));
  write_all(connection_.peer.get(), "line\n");
  EXPECT_EQ(receive(connection_.peer, 100), "line\n");
  run_until([&] { return weak_.expired(); });
}

TEST_P(IOStreamLifetime, NoFdIsLeftOfManyStreams) {
  const int fds = count_open_fds();
  for (int i = 0; i < 100; ++i) {
    Connection connection = connect(socket_pair());
    connection.stream->write("x");
    if (i % 2 == 0) connection.stream->close();
  }
  run_turns(5);
  EXPECT_EQ(count_open_fds(), fds);
}

}  // namespace
}  // namespace gyre::testing
