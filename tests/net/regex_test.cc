// Reading up to a regular expression, on every backend.

#include "gyre/net/regex.h"

#include <re2/re2.h>

#include <memory>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "gyre/loop/task.h"
#include "gyre/tests/net/stream_fixture.h"
#include "gyre/tests/support/sockets.h"

namespace gyre::testing {
namespace {

using absl::StatusCode;
using ::testing::HasSubstr;

class ReadUntilRegex : public StreamTest {
 protected:
  Connection connection_ = connect(socket_pair());
  IOStream& stream_ = *connection_.stream;
};
GYRE_FOR_EACH_BACKEND(ReadUntilRegex);

TEST_P(ReadUntilRegex, GivesAllUpToTheEndOfTheMatch) {
  write_all(connection_.peer.get(), "GET / HTTP/1.1\r\n\nbody");
  run_task([&]() -> Task<void> {
    EXPECT_EQ(*co_await read_until_regex(stream_, "\r?\n\r?\n"), "GET / HTTP/1.1\r\n\n");
    EXPECT_EQ(*co_await stream_.read_bytes(4), "body");
  });
}

TEST_P(ReadUntilRegex, AMatchMayComeInPieces) {
  std::string answer;
  loop_->spawn_callback(
      [&]() -> Task<void> { answer = *co_await read_until_regex(stream_, "[0-9]+;"); });
  for (const char* part : {"ab", "12", "34", ";rest"}) {
    EXPECT_EQ(answer, "");
    write_all(connection_.peer.get(), part);
    run_turns(3);
  }
  run_until([&] { return !answer.empty(); });
  EXPECT_EQ(answer, "ab1234;");
}

TEST_P(ReadUntilRegex, WhatCameBeforeMayHoldAMatchAlready) {
  write_all(connection_.peer.get(), "a;b1;c");
  run_task([&]() -> Task<void> {
    EXPECT_EQ(*co_await stream_.read_until(";"), "a;");
    EXPECT_EQ(*co_await read_until_regex(stream_, "[0-9];"), "b1;");
  });
}

TEST_P(ReadUntilRegex, ACompiledPatternIsShared) {
  const auto pattern = std::make_shared<const re2::RE2>("b+");
  const Connection other = connect(socket_pair());
  write_all(connection_.peer.get(), "abb-");
  write_all(other.peer.get(), "b-");
  run_task([&]() -> Task<void> {
    EXPECT_EQ(*co_await read_until_regex(stream_, pattern), "abb");
    EXPECT_EQ(*co_await read_until_regex(*other.stream, pattern), "b");
  });
  EXPECT_EQ(pattern.use_count(), 1);
}

TEST_P(ReadUntilRegex, APatternThatIsNoneIsInvalidArgumentAndTheStreamGoesOn) {
  run_task([&]() -> Task<void> {
    const absl::Status status = (co_await read_until_regex(stream_, "a(")).status();
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr("a("));
    EXPECT_EQ(
        (co_await read_until_regex(stream_, std::shared_ptr<const re2::RE2>())).status().code(),
        StatusCode::kInvalidArgument);
    EXPECT_EQ((co_await read_until_regex(stream_, "a", 0)).status().code(),
              StatusCode::kInvalidArgument);
  });
  EXPECT_FALSE(stream_.closed());
}

TEST_P(ReadUntilRegex, NoMatchWithinMaxBytesClosesTheStream) {
  Closing closing;
  watch(stream_, closing);
  write_all(connection_.peer.get(), "abcdefgh1");
  run_task([&]() -> Task<void> {
    EXPECT_EQ((co_await read_until_regex(stream_, "[0-9]", 8)).status().code(),
              StatusCode::kResourceExhausted);
  });
  run_until([&] { return closing.times > 0; });
}

TEST_P(ReadUntilRegex, AMatchOfExactlyMaxBytesIsGivenWhateverFollows) {
  write_all(connection_.peer.get(), "abc1" + std::string(1000, 'x'));
  run_task(
      [&]() -> Task<void> { EXPECT_EQ(*co_await read_until_regex(stream_, "[0-9]", 4), "abc1"); });
}

TEST_P(ReadUntilRegex, ThePeersEndWithoutAMatchIsOutOfRange) {
  write_all(connection_.peer.get(), "no digits");
  connection_.peer.reset();
  run_task([&]() -> Task<void> {
    EXPECT_EQ((co_await read_until_regex(stream_, "[0-9]")).status().code(),
              StatusCode::kOutOfRange);
  });
}

}  // namespace
}  // namespace gyre::testing
