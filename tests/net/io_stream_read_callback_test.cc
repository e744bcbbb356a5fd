// Reading from a stream as it comes, on every backend.

#include <sys/socket.h>

#include <functional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "gyre/net/io_stream.h"
#include "gyre/tests/net/stream_fixture.h"
#include "gyre/tests/support/on_destroy.h"
#include "gyre/tests/support/sockets.h"

namespace gyre::testing {
namespace {

using absl::StatusCode;
using ::testing::ElementsAre;

class IOStreamReadCallback : public StreamTest {
 protected:
  // Takes everything.
  void collect() {
    ASSERT_TRUE(
        stream_.set_read_callback([this](std::string_view bytes) { received_ += bytes; }).ok());
  }
  void run_until_received(size_t bytes) {
    run_until([&] { return received_.size() >= bytes; });
  }

  Connection connection_ = connect(socket_pair());
  IOStream& stream_ = *connection_.stream;
  std::string received_;
};
GYRE_FOR_EACH_BACKEND(IOStreamReadCallback);

TEST_P(IOStreamReadCallback, IsHandedWhateverComes) {
  collect();
  write_all(connection_.peer.get(), "one ");
  run_until_received(4);
  write_all(connection_.peer.get(), "two");
  run_until_received(7);
  EXPECT_EQ(received_, "one two");
  EXPECT_EQ(stream_.bytes_received(), 7u);
}

TEST_P(IOStreamReadCallback, IsHandedWhatCameBeforeIt) {
  write_all(connection_.peer.get(), "early");
  run_turns(3);
  collect();
  EXPECT_EQ(received_, "") << "never inside the call";
  run_until_received(5);
}

TEST_P(IOStreamReadCallback, IsHandedWhatAnEarlierReadLeft) {
  write_all(connection_.peer.get(), "head;tail");
  bool read = false;
  stream_.read_until(";", [&](absl::StatusOr<std::string>) {
    read = true;
    collect();
  });
  run_until([&] { return read; });
  run_turns(2);
  EXPECT_EQ(received_, "tail");
}

TEST_P(IOStreamReadCallback, WhatItLeavesComesAgainInFrontOfWhatFollows) {
  std::vector<std::string> seen;
  ASSERT_TRUE(stream_
                  .set_read_callback([&](std::string_view bytes) -> size_t {
                    seen.emplace_back(bytes);
                    const size_t line = bytes.find('\n');
                    return line == std::string_view::npos ? 0 : line + 1;
                  })
                  .ok());
  for (const char* part : {"a", "b", "\nc", "\n"}) {
    const size_t before = seen.size();
    write_all(connection_.peer.get(), part);
    run_until([&] { return seen.size() > before; });
  }
  EXPECT_THAT(seen, ElementsAre("a", "ab", "ab\nc", "c\n"));
}

TEST_P(IOStreamReadCallback, ThatClaimsMoreThanThereIsTakesAll) {
  ASSERT_TRUE(stream_
                  .set_read_callback([&](std::string_view bytes) -> size_t {
                    received_ += bytes;
                    return bytes.size() + 100;
                  })
                  .ok());
  write_all(connection_.peer.get(), "one");
  run_until_received(3);
  write_all(connection_.peer.get(), "two");
  run_until_received(6);
  EXPECT_EQ(received_, "onetwo");
}

TEST_P(IOStreamReadCallback, ThatLeavesMoreThanMaxBufferSizeClosesTheStream) {
  IOStreamOptions options;
  options.max_buffer_size = 10;
  const Connection small = connect(socket_pair(), options);
  Closing closing;
  watch(*small.stream, closing);
  ASSERT_TRUE(small.stream->set_read_callback([](std::string_view) -> size_t { return 0; }).ok());
  write_all(small.peer.get(), "0123456789");
  run_turns(3);
  EXPECT_FALSE(small.stream->closed());
  write_all(small.peer.get(), "x");
  run_until([&] { return closing.times > 0; });
  EXPECT_EQ(closing.reason.code(), StatusCode::kResourceExhausted);
}

TEST_P(IOStreamReadCallback, MayReplaceItselfAndTheNextGetsTheRest) {
  std::string first, second;
  ASSERT_TRUE(
      stream_
          .set_read_callback([&, kept = std::string(100, 'k')](std::string_view bytes) -> size_t {
            first += bytes.substr(0, 2);
            EXPECT_TRUE(
                stream_.set_read_callback([&](std::string_view rest) { second += rest; }).ok());
            EXPECT_EQ(kept.size(), 100u) << "destroyed while it runs";
            return 2;
          })
          .ok());
  write_all(connection_.peer.get(), "abcd");
  run_until([&] { return !first.empty(); });
  write_all(connection_.peer.get(), "ef");
  run_until([&] { return second.size() == 4; });
  EXPECT_EQ(first, "ab");
  EXPECT_EQ(second, "cdef");
}

TEST_P(IOStreamReadCallback, MayBeReplacedFromOutside) {
  collect();
  std::string second;
  ASSERT_TRUE(stream_.set_read_callback([&](std::string_view bytes) { second += bytes; }).ok());
  write_all(connection_.peer.get(), "x");
  run_until([&] { return !second.empty(); });
  EXPECT_EQ(received_, "");
}

TEST_P(IOStreamReadCallback, BesideAPendingReadIsFailedPrecondition) {
  std::string read;
  stream_.read_bytes(1, [&](absl::StatusOr<std::string> result) { read = *result; });
  EXPECT_EQ(stream_.set_read_callback([](std::string_view) {}).code(),
            StatusCode::kFailedPrecondition);
  write_all(connection_.peer.get(), "x");
  run_until([&] { return read == "x"; });
}

TEST_P(IOStreamReadCallback, OnAClosedStreamIsAnErrorAndIsNotKept) {
  stream_.close();
  bool destroyed = false;
  EXPECT_FALSE(
      stream_.set_read_callback([n = OnDestroy([&] { destroyed = true; })](std::string_view) {})
          .ok());
  EXPECT_TRUE(destroyed);
}

TEST_P(IOStreamReadCallback, ThatThrowsIsLoggedAndItsStreamClosesAloneWithoutTheOthers) {
  log_.expect(LogLevel::kError, "from a read callback");
  const Connection other = connect(socket_pair());
  std::string heard;
  ASSERT_TRUE(
      other.stream->set_read_callback([&](std::string_view bytes) { heard += bytes; }).ok());
  Closing closing;
  watch(stream_, closing);
  ASSERT_TRUE(stream_
                  .set_read_callback(
                      [](std::string_view) { throw std::runtime_error("from a read callback"); })
                  .ok());
  write_all(connection_.peer.get(), "x");
  write_all(other.peer.get(), "y");
  run_until([&] { return closing.times > 0 && !heard.empty(); });
  EXPECT_EQ(closing.reason.code(), StatusCode::kInternal);
  EXPECT_TRUE(at_end(connection_.peer.get()));
  EXPECT_EQ(loop_->metrics().exceptions, 1u);
}

// ---- Pausing

TEST_P(IOStreamReadCallback, IsNotCalledWhileReadingIsPaused) {
  collect();
  stream_.pause_reading();
  stream_.pause_reading();
  write_all(connection_.peer.get(), "waits");
  run_turns(5);
  EXPECT_EQ(received_, "");
  const uint64_t events = loop_->metrics().events;
  run_turns(20);
  EXPECT_EQ(loop_->metrics().events, events) << "it does not spin meanwhile";
  stream_.resume_reading();
  stream_.resume_reading();
  EXPECT_EQ(received_, "") << "never inside the call";
  run_until_received(5);
  write_all(connection_.peer.get(), "!");
  run_until_received(6);
}

TEST_P(IOStreamReadCallback, MayPauseItself) {
  ASSERT_TRUE(stream_
                  .set_read_callback([&](std::string_view bytes) -> size_t {
                    received_ += bytes.substr(0, 1);
                    stream_.pause_reading();
                    return 1;
                  })
                  .ok());
  write_all(connection_.peer.get(), "abc");
  run_until_received(1);
  run_turns(3);
  EXPECT_EQ(received_, "a");
  for (const char* expected : {"ab", "abc"}) {
    stream_.resume_reading();
    run_turns(3);
    EXPECT_EQ(received_, expected);
  }
}

TEST_P(IOStreamReadCallback, WhilePausedThePeerIsSlowedDown) {
  collect();
  stream_.pause_reading();
  fill(connection_.peer.get());
  run_turns(5);
  EXPECT_LT(::write(connection_.peer.get(), "x", 1), 0) << "nothing was taken from the kernel";
  EXPECT_EQ(stream_.bytes_received(), 0u);
  stream_.resume_reading();
  run_until([&] { return ::write(connection_.peer.get(), "x", 1) == 1; });
}

TEST_P(IOStreamReadCallback, WhatCameBeforeThePeersEndIsHandedOverAfterThePause) {
  collect();
  stream_.pause_reading();
  write_all(connection_.peer.get(), "last words");
  connection_.peer.reset();
  run_turns(5);
  EXPECT_EQ(received_, "");
  EXPECT_FALSE(stream_.closed());
  stream_.resume_reading();
  run_until([&] { return stream_.closed(); });
  EXPECT_EQ(received_, "last words");
}

// ---- Fairness

// One that never stops must not own the loop.
TEST_P(IOStreamReadCallback, AFirehoseLeavesTurnsToTheOthers) {
  Connection firehose = connect(socket_pair());
  ASSERT_TRUE(
      firehose.stream->set_read_callback([&](std::string_view) { fill(firehose.peer.get()); })
          .ok());
  fill(firehose.peer.get());
  collect();
  write_all(connection_.peer.get(), "x");
  run_until_received(1);
  EXPECT_GT(firehose.stream->bytes_received(), 0u);
}

TEST_P(IOStreamReadCallback, NoMoreThanItsShareIsReadInOneTurn) {
  constexpr uint64_t kShare = 256 * 1024, kReceiveBuffer = 64 * 1024;
  ASSERT_TRUE(
      stream_.set_read_callback([&](std::string_view) { fill(connection_.peer.get()); }).ok());
  fill(connection_.peer.get());
  uint64_t before = 0;
  int turns = 0;
  run_until([&] {
    // A turn may hold what was put off and a further event.
    EXPECT_LE(stream_.bytes_received() - std::exchange(before, stream_.bytes_received()),
              2 * (kShare + kReceiveBuffer));
    return ++turns == 20;
  });
  EXPECT_GT(stream_.bytes_received(), 4 * kShare);
}

// ---- The peer's end

TEST_P(IOStreamReadCallback, ThePeersEndClosesTheStreamAfterTheLastBytes) {
  Closing closing;
  watch(stream_, closing);
  collect();
  write_all(connection_.peer.get(), "bye");
  connection_.peer.reset();
  run_until([&] { return closing.times > 0; });
  EXPECT_EQ(received_, "bye");
  EXPECT_TRUE(closing.reason.ok()) << closing.reason;
}

TEST_P(IOStreamReadCallback, WithHalfCloseIsToldOfTheEndOnceAndMayGoOnWriting) {
  IOStreamOptions options;
  options.allow_half_close = true;
  const Connection half = connect(socket_pair(), options);
  std::vector<std::string> seen;
  ASSERT_TRUE(
      half.stream->set_read_callback([&](std::string_view bytes) { seen.emplace_back(bytes); })
          .ok());
  write_all(half.peer.get(), "question");
  ASSERT_EQ(::shutdown(half.peer.get(), SHUT_WR), 0);
  run_until([&] { return seen.size() == 2; });
  EXPECT_THAT(seen, ElementsAre("question", ""));
  run_turns(5);
  const uint64_t events = loop_->metrics().events;
  run_turns(20);
  EXPECT_EQ(loop_->metrics().events, events) << "the end is told, and does not spin";
  EXPECT_EQ(seen.size(), 2u);
  EXPECT_FALSE(half.stream->closed());
  half.stream->write("answer");
  half.stream->close();
  EXPECT_EQ(receive(half.peer, 6), "answer");
}

}  // namespace
}  // namespace gyre::testing
