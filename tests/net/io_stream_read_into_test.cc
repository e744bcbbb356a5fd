// Reading into a buffer of one's own, and as far as a predicate says; on every backend.

#include <sys/socket.h>

#include <array>
#include <optional>
#include <random>
#include <stdexcept>
#include <string>
#include <string_view>
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
using ::testing::HasSubstr;

class IOStreamReadInto : public StreamTest {
 protected:
  IOStreamReadInto() : StreamTest(TestTime::kVirtual) {}

  std::string_view filled(size_t count) const { return {buffer_.data(), count}; }
  // What answered a read with a callback.
  auto note() {
    return [this](absl::StatusOr<size_t> result) {
      answered_ = true;
      result_ = std::move(result);
    };
  }
  void run_until_answered() {
    run_until([&] { return answered_; });
    answered_ = false;
  }

  Connection connection_ = connect(socket_pair());
  IOStream& stream_ = *connection_.stream;
  std::array<char, 64> buffer_{};
  absl::StatusOr<size_t> result_ = 0;
  bool answered_ = false;
};
GYRE_FOR_EACH_BACKEND(IOStreamReadInto);

TEST_P(IOStreamReadInto, FillsTheBufferAndLeavesTheRest) {
  write_all(connection_.peer.get(), "0123456789");
  run_task([&]() -> Task<void> {
    EXPECT_EQ(*co_await stream_.read_into(std::span(buffer_).first(4)), 4u);
    EXPECT_EQ(filled(4), "0123");
    EXPECT_EQ(*co_await stream_.read_into(std::span(buffer_).first(2)), 2u);
    EXPECT_EQ(filled(2), "45");
    EXPECT_EQ(*co_await stream_.read_bytes(4), "6789");
  });
}

TEST_P(IOStreamReadInto, WaitsUntilTheBufferIsFull) {
  stream_.read_into(std::span(buffer_).first(6), note());
  write_all(connection_.peer.get(), "abc");
  run_turns(3);
  EXPECT_FALSE(answered_);
  write_all(connection_.peer.get(), "defg");
  run_until_answered();
  EXPECT_EQ(filled(*result_), "abcdef");
}

TEST_P(IOStreamReadInto, APartOfItTakesWhatIsThere) {
  stream_.read_into(buffer_, note(), /*partial=*/true);
  write_all(connection_.peer.get(), "abc");
  run_until_answered();
  EXPECT_EQ(filled(*result_), "abc");
}

TEST_P(IOStreamReadInto, AnEmptyBufferIsFullAtOnceAndTakesNothing) {
  write_all(connection_.peer.get(), "ab");
  connection_.peer.reset();
  run_task([&]() -> Task<void> {
    EXPECT_EQ(*co_await stream_.read_into({}), 0u);
    EXPECT_EQ(*co_await stream_.read_bytes(2), "ab");
    EXPECT_EQ(*co_await stream_.read_into({}, /*partial=*/true), 0u);
  });
}

TEST_P(IOStreamReadInto, NoBufferIsInvalidArgument) {
  run_task([&]() -> Task<void> {
    const absl::StatusOr<size_t> result =
        co_await stream_.read_into(std::span<char>(static_cast<char*>(nullptr), 10));
    EXPECT_EQ(result.status().code(), StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(result.status().message()), HasSubstr("read_into"));
  });
}

// The buffer is larger than everything that is shared, so the bytes are received right there.
TEST_P(IOStreamReadInto, ALargeBufferMayBeLargerThanMaxBufferSize) {
  IOStreamOptions options;
  options.max_buffer_size = 1000;
  const Connection small = connect(socket_pair(), options);
  const std::string sent = numbered_bytes(1 << 20);
  std::string received(sent.size(), '\0');
  small.stream->read_into(received, note());
  size_t written = 0;
  run_until([&] {
    const ssize_t n = ::write(small.peer.get(), sent.data() + written, sent.size() - written);
    if (n > 0) written += n;
    return answered_;
  });
  EXPECT_EQ(*result_, sent.size());
  EXPECT_TRUE(received == sent);
}

TEST_P(IOStreamReadInto, ThePeersEndIsOutOfRangeAndTheBytesAreForTheNextRead) {
  stream_.read_into(std::span(buffer_).first(10), note());
  write_all(connection_.peer.get(), "short");
  connection_.peer.reset();
  run_until_answered();
  EXPECT_EQ(result_.status().code(), StatusCode::kOutOfRange);
  run_task([&]() -> Task<void> { EXPECT_EQ(*co_await stream_.read_until_close(), "short"); });
}

TEST_P(IOStreamReadInto, AfterOneThatTimedOutAnotherGetsTheBytes) {
  write_all(connection_.peer.get(), "abc");
  const absl::StatusOr<size_t> first = loop_->run_sync(
      [&]() -> Task<absl::StatusOr<size_t>> { co_return co_await stream_.read_into(buffer_); },
      std::chrono::milliseconds(20));
  EXPECT_EQ(first.status().code(), StatusCode::kDeadlineExceeded);
  write_all(connection_.peer.get(), "d");
  run_task([&]() -> Task<void> { EXPECT_EQ(*co_await stream_.read_bytes(4), "abcd"); });
}

TEST_P(IOStreamReadInto, ACloseFailsItWithTheReason) {
  stream_.read_into(buffer_, note());
  stream_.close(absl::AbortedError("enough"));
  run_until_answered();
  EXPECT_EQ(result_.status().code(), StatusCode::kAborted);
}

// ---- As far as a predicate says

using IOStreamPredicate = IOStreamReadInto;
GYRE_FOR_EACH_BACKEND(IOStreamPredicate);

// A length in one byte, then so many bytes.
std::optional<size_t> frame(std::string_view input) {
  if (input.empty()) return std::nullopt;
  const size_t size = 1 + static_cast<unsigned char>(input[0]);
  return input.size() < size ? std::nullopt : std::optional(size);
}

TEST_P(IOStreamPredicate, SaysWhereTheAnswerEndsWhateverPiecesItComesIn) {
  std::string received;
  loop_->spawn_callback([&]() -> Task<void> {
    while (received.size() < 9) received += *co_await stream_.read_until(frame);
  });
  for (const char byte : std::string_view("\3abc\0\2de\0", 9)) {
    write_all(connection_.peer.get(), {&byte, 1});
    run_turns(2);
  }
  run_until([&] { return received.size() == 9; });
  EXPECT_EQ(received, std::string_view("\3abc\0\2de\0", 9));
}

TEST_P(IOStreamPredicate, ThatClaimsMoreThanThereIsGetsAll) {
  write_all(connection_.peer.get(), "abc");
  run_task([&]() -> Task<void> {
    const auto all = [](std::string_view input) { return std::optional(input.size() + 10); };
    EXPECT_EQ(*co_await stream_.read_until(all), "abc");
  });
}

TEST_P(IOStreamPredicate, WithACallbackRunsInALaterEvent) {
  std::string received;
  write_all(connection_.peer.get(), "\2ab");
  stream_.read_until(frame, [&](absl::StatusOr<std::string> result) { received = *result; });
  EXPECT_EQ(received, "");
  run_until([&] { return !received.empty(); });
  EXPECT_EQ(received, "\2ab");
}

TEST_P(IOStreamPredicate, ThatIsNeverSatisfiedWithinMaxBytesClosesTheStream) {
  Closing closing;
  watch(stream_, closing);
  const auto never = [](std::string_view) { return std::optional<size_t>(); };
  absl::Status status;
  stream_.read_until(
      never, [&](const absl::StatusOr<std::string>& result) { status = result.status(); }, 4);
  write_all(connection_.peer.get(), "abcd");
  run_until([&] { return closing.times > 0; });
  EXPECT_EQ(status.code(), StatusCode::kResourceExhausted);
}

TEST_P(IOStreamPredicate, ThatThrowsIsLoggedAndItsStreamCloses) {
  log_.expect(LogLevel::kError, "from a predicate");
  Closing closing;
  watch(stream_, closing);
  const auto throws = [](std::string_view) -> std::optional<size_t> {
    throw std::runtime_error("from a predicate");
  };
  absl::Status status;
  stream_.read_until(throws,
                     [&](const absl::StatusOr<std::string>& result) { status = result.status(); });
  write_all(connection_.peer.get(), "x");
  run_until([&] { return closing.times > 0; });
  EXPECT_EQ(closing.reason.code(), StatusCode::kInternal);
  EXPECT_EQ(status, closing.reason);
}

// ---- Operands that nothing can answer

TEST_P(IOStreamReadInto, BadOperandsOfReadsAreNamedAndTheStreamGoesOn) {
  IOStreamOptions options;
  options.max_buffer_size = 100;
  const Connection small = connect(socket_pair(), options);
  IOStream& stream = *small.stream;
  run_task([&]() -> Task<void> {
    const auto expect_named = [](const absl::Status& status, std::string_view name) {
      EXPECT_EQ(status.code(), StatusCode::kInvalidArgument) << status;
      EXPECT_THAT(std::string(status.message()), HasSubstr(std::string(name)));
    };
    expect_named((co_await stream.read_until("")).status(), "delimiter");
    expect_named((co_await stream.read_until("\n", 0)).status(), "max_bytes");
    expect_named((co_await stream.read_until("\r\n", 1)).status(), "max_bytes");
    expect_named((co_await stream.read_until(frame, 0)).status(), "max_bytes");
    std::function<std::optional<size_t>(std::string_view)> none;
    expect_named((co_await stream.read_until(none)).status(), "predicate");
    expect_named((co_await stream.read_bytes(101)).status(), "read_bytes(101)");
    expect_named((co_await stream.read_bytes(static_cast<size_t>(-1))).status(), "read_bytes");
    write_all(small.peer.get(), "fine");
    EXPECT_EQ(*co_await stream.read_bytes(static_cast<size_t>(-1), /*partial=*/true), "fine");
  });
  EXPECT_FALSE(stream.closed());
}

TEST_P(IOStreamReadInto, OptionsThatAreNoneAreNamed) {
  const auto expect_named = [&](IOStreamOptions options, const std::string& name) {
    const absl::Status status = IOStream::create(*loop_, socket_pair().a, options).status();
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(name));
  };
  expect_named({.max_buffer_size = 0}, "max_buffer_size");
  expect_named({.idle_timeout = std::chrono::seconds(-1)}, "idle_timeout");
  expect_named({.read_timeout = std::chrono::seconds(-1)}, "read_timeout");
  expect_named({.write_timeout = std::chrono::seconds(-1)}, "write_timeout");
  expect_named({.connect_timeout = std::chrono::seconds(-1)}, "connect_timeout");
}

}  // namespace
}  // namespace gyre::testing
