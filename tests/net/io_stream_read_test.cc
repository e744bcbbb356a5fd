// Reading from a stream one request at a time, on every backend.

#include <unistd.h>

#include <algorithm>
#include <functional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "gyre/loop/task.h"
#include "gyre/net/io_stream.h"
#include "gyre/tests/net/stream_fixture.h"
#include "gyre/tests/support/sockets.h"

namespace gyre::testing {
namespace {

using absl::StatusCode;
using ::testing::ElementsAre;

using Result = absl::StatusOr<std::string>;

class IOStreamRead : public StreamTest {
 protected:
  // Notes the answers, errors by their code.
  auto note() {
    return [this](Result result) {
      answers_.push_back(result.ok() ? *result : absl::StatusCodeToString(result.status().code()));
    };
  }
  void run_until_answered(size_t count) {
    run_until([&] { return answers_.size() >= count; });
  }

  Connection connection_ = connect(socket_pair());
  IOStream& stream_ = *connection_.stream;
  std::vector<std::string> answers_;
};
GYRE_FOR_EACH_BACKEND(IOStreamRead);

TEST_P(IOStreamRead, ACoroutineReadsLineByLine) {
  write_all(connection_.peer.get(), "one\ntwo\nthree");
  run_task([&]() -> Task<void> {
    EXPECT_EQ(*co_await stream_.read_until("\n"), "one\n");
    EXPECT_EQ(*co_await stream_.read_until("\n"), "two\n");
    write_all(connection_.peer.get(), "!\n");
    EXPECT_EQ(*co_await stream_.read_until("\n"), "three!\n");
  });
  EXPECT_EQ(stream_.bytes_received(), 15u);
}

TEST_P(IOStreamRead, ACallbackIsNeverCalledInsideTheCallThatAsks) {
  write_all(connection_.peer.get(), "abcdef");
  stream_.read_bytes(2, note());
  EXPECT_TRUE(answers_.empty());
  run_until_answered(1);
  stream_.read_bytes(2, note());  // it is there already
  EXPECT_THAT(answers_, ElementsAre("ab"));
  run_turns(1);
  EXPECT_THAT(answers_, ElementsAre("ab", "cd"));
}

TEST_P(IOStreamRead, ACallbackMayAskForMore) {
  write_all(connection_.peer.get(), "a;b;c;");
  std::function<void(Result)> next = [&](Result result) {
    note()(std::move(result));
    if (answers_.size() < 3) stream_.read_until(";", next);
  };
  stream_.read_until(";", next);
  run_until_answered(3);
  EXPECT_THAT(answers_, ElementsAre("a;", "b;", "c;"));
}

TEST_P(IOStreamRead, ACountWaitsForAllOfIt) {
  stream_.read_bytes(6, note());
  write_all(connection_.peer.get(), "abc");
  run_turns(3);
  EXPECT_TRUE(answers_.empty());
  write_all(connection_.peer.get(), "defg");
  run_until_answered(1);
  EXPECT_THAT(answers_, ElementsAre("abcdef"));
}

TEST_P(IOStreamRead, APartialReadTakesWhatIsThere) {
  stream_.read_bytes(6, note(), /*partial=*/true);
  write_all(connection_.peer.get(), "abc");
  run_until_answered(1);
  write_all(connection_.peer.get(), "0123456789");
  stream_.read_bytes(6, note(), /*partial=*/true);
  run_until_answered(2);
  EXPECT_THAT(answers_, ElementsAre("abc", "012345"));
}

TEST_P(IOStreamRead, ZeroBytesBetweenOtherReadsTakeNothing) {
  write_all(connection_.peer.get(), "abcd");
  run_task([&]() -> Task<void> {
    EXPECT_EQ(*co_await stream_.read_bytes(0), "");
    EXPECT_EQ(*co_await stream_.read_bytes(2), "ab");
    EXPECT_EQ(*co_await stream_.read_bytes(0), "");
    EXPECT_EQ(*co_await stream_.read_bytes(0, /*partial=*/true), "");
    EXPECT_EQ(*co_await stream_.read_bytes(2), "cd");
  });
}

TEST_P(IOStreamRead, BytesThatCameBeforeAnybodyReadAreKept) {
  write_all(connection_.peer.get(), "early");
  run_turns(3);
  stream_.read_bytes(5, note());
  run_until_answered(1);
  EXPECT_THAT(answers_, ElementsAre("early"));
}

// Level-triggered, data that nobody reads would call the stream in each iteration.
TEST_P(IOStreamRead, DataThatNobodyReadsDoesNotSpin) {
  write_all(connection_.peer.get(), "early");
  run_turns(5);
  const uint64_t events = loop_->metrics().events;
  run_turns(50);
  EXPECT_EQ(loop_->metrics().events, events);
}

TEST_P(IOStreamRead, ASecondReadFailsAndTheFirstGoesOn) {
  stream_.read_until("\n", note());
  stream_.read_bytes(1, note());
  run_turns(1);
  EXPECT_THAT(answers_, ElementsAre("FAILED_PRECONDITION"));
  write_all(connection_.peer.get(), "line\n");
  run_until_answered(2);
  EXPECT_THAT(answers_, ElementsAre("FAILED_PRECONDITION", "line\n"));
}

TEST_P(IOStreamRead, BesideAReadCallbackIsFailedPrecondition) {
  std::string received;
  ASSERT_TRUE(stream_.set_read_callback([&](std::string_view bytes) { received += bytes; }).ok());
  stream_.read_bytes(1, note());
  write_all(connection_.peer.get(), "x");
  run_until([&] { return !received.empty(); });
  EXPECT_THAT(answers_, ElementsAre("FAILED_PRECONDITION"));
  EXPECT_EQ(received, "x");
}

TEST_P(IOStreamRead, MoreThanTheReceiveBufferComesInOnePiece) {
  const std::string sent = numbered_bytes(1 << 20);
  size_t written = 0;
  stream_.read_bytes(sent.size(), note());
  run_until([&] {
    const ssize_t n = ::write(connection_.peer.get(), sent.data() + written, sent.size() - written);
    if (n > 0) written += n;
    return !answers_.empty();
  });
  EXPECT_TRUE(answers_.front() == sent);
}

// ---- Limits

TEST_P(IOStreamRead, ADelimiterWithinMaxBytesIsFoundWhateverFollows) {
  write_all(connection_.peer.get(), "ab\n" + std::string(1000, 'x'));
  run_task([&]() -> Task<void> {
    EXPECT_EQ(*co_await stream_.read_until("\n", 3), "ab\n");
    EXPECT_EQ(*co_await stream_.read_bytes(2), "xx");
  });
}

TEST_P(IOStreamRead, ADelimiterBeyondMaxBytesClosesTheStream) {
  Closing closing;
  watch(stream_, closing);
  stream_.read_until("\n", note(), 4);
  write_all(connection_.peer.get(), "abcd\n");
  run_until([&] { return closing.times > 0; });
  EXPECT_THAT(answers_, ElementsAre("RESOURCE_EXHAUSTED"));
  EXPECT_EQ(closing.reason.code(), StatusCode::kResourceExhausted);
  EXPECT_TRUE(stream_.closed());
}

TEST_P(IOStreamRead, BytesThatAreThereAlreadyMayBeTooManyToo) {
  write_all(connection_.peer.get(), "x;0123456789");
  run_task([&]() -> Task<void> {
    EXPECT_EQ(*co_await stream_.read_until(";"), "x;");
    const Result result = co_await stream_.read_until(";", 10);
    EXPECT_EQ(result.status().code(), StatusCode::kResourceExhausted);
    EXPECT_TRUE(stream_.closed());
  });
}

TEST_P(IOStreamRead, ACountBeyondMaxBufferSizeIsInvalidArgumentAndTheStreamStays) {
  IOStreamOptions options;
  options.max_buffer_size = 100;
  const Connection small = connect(socket_pair(), options);
  small.stream->read_bytes(101, note());
  small.stream->read_bytes(100, note());
  write_all(small.peer.get(), std::string(100, 'x'));
  run_until_answered(2);
  EXPECT_THAT(answers_, ElementsAre("INVALID_ARGUMENT", std::string(100, 'x')));
}

TEST_P(IOStreamRead, APeerThatSendsNoEndFillsNoMoreThanMaxBufferSize) {
  IOStreamOptions options;
  options.max_buffer_size = 100;
  const Connection small = connect(socket_pair(), options);
  small.stream->read_until_close(note());
  write_all(small.peer.get(), std::string(101, 'x'));
  run_until_answered(1);
  EXPECT_THAT(answers_, ElementsAre("RESOURCE_EXHAUSTED"));
  EXPECT_TRUE(small.stream->closed());
}

// Small reads from a large stream: what is not asked for stays with the kernel.
TEST_P(IOStreamRead, SmallReadsOfAFastPeerStayBelowMaxBufferSize) {
  IOStreamOptions options;
  options.max_buffer_size = 10 * 1024;
  const Connection small = connect(socket_pair(), options);
  const std::string sent = numbered_bytes(100 * 1024);
  size_t written = 0;
  run_task([&]() -> Task<void> {
    std::string received;
    while (received.size() < sent.size()) {
      const ssize_t n = ::write(small.peer.get(), sent.data() + written, sent.size() - written);
      if (n > 0) written += n;
      const Result result = co_await small.stream->read_bytes(512);
      EXPECT_TRUE(result.ok()) << result.status();
      if (!result.ok()) co_return;
      received += *result;
    }
    EXPECT_TRUE(received == sent);
  });
}

// ---- The peer's end

TEST_P(IOStreamRead, UntilCloseGivesAllThatCame) {
  stream_.read_until_close(note());
  write_all(connection_.peer.get(), "one ");
  run_turns(3);
  EXPECT_TRUE(answers_.empty());
  write_all(connection_.peer.get(), "two");
  connection_.peer.reset();
  run_until_answered(1);
  EXPECT_THAT(answers_, ElementsAre("one two"));
}

TEST_P(IOStreamRead, UntilCloseGivesWhatAnEarlierReadLeft) {
  write_all(connection_.peer.get(), "head;tail");
  connection_.peer.reset();
  run_task([&]() -> Task<void> {
    EXPECT_EQ(*co_await stream_.read_until(";"), "head;");
    EXPECT_EQ(*co_await stream_.read_until_close(), "tail");
    EXPECT_EQ(*co_await stream_.read_until_close(), "") << "nothing is left";
  });
}

TEST_P(IOStreamRead, TheEndFailsAPendingReadAsOutOfRange) {
  stream_.read_bytes(10, note());
  write_all(connection_.peer.get(), "short");
  connection_.peer.reset();
  run_until_answered(1);
  EXPECT_THAT(answers_, ElementsAre("OUT_OF_RANGE"));
}

TEST_P(IOStreamRead, ADelimiterThatDidNotComeIsOutOfRangeAndNoMatterOfItsLimit) {
  stream_.read_until("\n", note(), 1000);
  write_all(connection_.peer.get(), "no delimiter");
  connection_.peer.reset();
  run_until_answered(1);
  EXPECT_THAT(answers_, ElementsAre("OUT_OF_RANGE"));
}

TEST_P(IOStreamRead, ADelimiterInTheLastPacketBeforeTheEndIsFound) {
  stream_.read_until("\r\n", note());
  write_all(connection_.peer.get(), "line\r");
  run_turns(3);
  write_all(connection_.peer.get(), "\n");
  connection_.peer.reset();
  run_until_answered(1);
  EXPECT_THAT(answers_, ElementsAre("line\r\n"));
}

TEST_P(IOStreamRead, WhatWasReceivedOutlivesTheStreamsClose) {
  Closing closing;
  watch(stream_, closing);
  write_all(connection_.peer.get(), "one;two;rest");
  connection_.peer.reset();
  stream_.read_until(";", note());
  run_until([&] { return closing.times > 0; });
  stream_.read_until(";", note());
  stream_.read_bytes(4, note());
  stream_.read_bytes(1, note());
  run_turns(1);
  EXPECT_THAT(answers_, ElementsAre("one;", "two;", "rest", "OUT_OF_RANGE"));
}

TEST_P(IOStreamRead, WhatTheKernelHoldsIsReadAlthoughThePeerHasEnded) {
  write_all(connection_.peer.get(), "late but read");
  connection_.peer.reset();
  run_turns(5);
  EXPECT_FALSE(stream_.closed()) << "not before it is read";
  stream_.read_until_close(note());
  run_until_answered(1);
  EXPECT_THAT(answers_, ElementsAre("late but read"));
  run_until([&] { return stream_.closed(); });
}

TEST_P(IOStreamRead, AnIdlePeersEndClosesTheStream) {
  Closing closing;
  watch(stream_, closing);
  connection_.peer.reset();
  run_until([&] { return closing.times > 0; });
  EXPECT_TRUE(closing.reason.ok()) << closing.reason;
  stream_.read_bytes(1, note());
  run_turns(1);
  EXPECT_THAT(answers_, ElementsAre("OUT_OF_RANGE"));
}

TEST_P(IOStreamRead, AResetFailsAPendingReadWithTheErrorOfTheCall) {
  Connection tcp = connect(tcp_pair());
  Result read;
  tcp.stream->read_bytes(1, [&](Result result) { read = std::move(result); });
  run_turns(2);
  reset_connection(std::move(tcp.peer));
  run_until([&] { return read.status().code() == StatusCode::kUnavailable; });
  EXPECT_THAT(std::string(read.status().message()), ::testing::HasSubstr("recv: "));
}

// ---- Any mixture

TEST_P(IOStreamRead, AMegabyteThroughMixedReadsIsTheSameMegabyte) {
  std::mt19937 random(1);
  const std::string sent = numbered_bytes(1 << 20);
  size_t written = 0;
  const auto feed = [&] {
    const size_t size = std::min<size_t>(1 + random() % 30000, sent.size() - written);
    const ssize_t n = ::write(connection_.peer.get(), sent.data() + written, size);
    if (n > 0) written += n;
    if (written == sent.size()) connection_.peer.reset();
  };
  std::string received;
  const auto take = [&](const Result& result) {
    EXPECT_TRUE(result.ok()) << result.status();
    if (result.ok()) received += *result;
    return result.ok();
  };
  bool finished = false;
  loop_->spawn_callback([&]() -> Task<void> {
    while (sent.size() - received.size() > 1000) {
      bool ok = false;
      switch (random() % 3) {
        case 0:
          ok = take(co_await stream_.read_bytes(random() % 1000));
          break;
        case 1:
          ok = take(co_await stream_.read_bytes(1 + random() % 1000, /*partial=*/true));
          break;
        default:
          ok = take(co_await stream_.read_until(" "));
      }
      if (!ok) co_return;
    }
    take(co_await stream_.read_until_close());
    finished = true;
  });
  run_until([&] {
    if (connection_.peer) feed();
    return finished;
  });
  EXPECT_TRUE(received == sent);
}

}  // namespace
}  // namespace gyre::testing
