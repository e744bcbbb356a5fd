// Writing in pieces, shared bytes and files; limits and water marks; on every backend.

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
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
using ::testing::HasSubstr;

// More than the buffers of a pair of sockets take.
constexpr size_t kLarge = 1024 * 1024;

class IOStreamGather : public StreamTest {
 protected:
  Connection connection_ = connect(socket_pair());
  IOStream& stream_ = *connection_.stream;
};
GYRE_FOR_EACH_BACKEND(IOStreamGather);

TEST_P(IOStreamGather, PiecesAreSentAsOne) {
  const std::vector<std::string_view> pieces{"one ", "", "two ", "three"};
  EXPECT_TRUE(stream_.write(pieces).accepted());
  EXPECT_EQ(read_available(connection_.peer.get()), "one two three");
  EXPECT_EQ(stream_.bytes_sent(), 13u);
}

TEST_P(IOStreamGather, NoPiecesSendNothing) {
  EXPECT_TRUE(stream_.write(std::span<const std::string_view>()).accepted());
  const std::vector<std::string_view> empty(3);
  EXPECT_TRUE(stream_.write(empty).accepted());
  EXPECT_EQ(stream_.bytes_sent(), 0u);
}

// IOV_MAX is 1024 on Linux.
TEST_P(IOStreamGather, AnyNumberOfPiecesArrives) {
  const std::string bytes = numbered_bytes(5000);
  std::vector<std::string_view> pieces;
  for (size_t i = 0; i < bytes.size(); ++i) pieces.push_back(std::string_view(bytes).substr(i, 1));
  EXPECT_TRUE(stream_.write(pieces).accepted());
  EXPECT_EQ(receive(connection_.peer, bytes.size()), bytes);
}

TEST_P(IOStreamGather, LargePiecesKeepTheirOrderThroughTheQueue) {
  const std::string one = numbered_bytes(kLarge), two = numbered_bytes(kLarge / 3);
  const std::vector<std::string_view> pieces{one, two, "end"};
  stream_.write(pieces);
  stream_.write("!");
  EXPECT_GT(stream_.write_buffer_size(), 0u);
  EXPECT_TRUE(receive(connection_.peer, one.size() + two.size() + 4) == one + two + "end!");
}

TEST_P(IOStreamGather, InAReadCallbackPiecesAreSentWithTheRest) {
  ASSERT_TRUE(stream_
                  .set_read_callback([&](std::string_view bytes) {
                    stream_.write(bytes);
                    const std::vector<std::string_view> pieces{"b", "c"};
                    stream_.write(pieces);
                    stream_.write("d");
                    EXPECT_EQ(read_available(connection_.peer.get()), "");
                    EXPECT_EQ(stream_.bytes_sent(), 0u);
                  })
                  .ok());
  write_all(connection_.peer.get(), "a");
  EXPECT_EQ(receive(connection_.peer, 4), "abcd");
  EXPECT_EQ(stream_.bytes_sent(), 4u);
}

// What is sent back as it came is not copied, as long as nothing is added.
TEST_P(IOStreamGather, PartsOfWhatWasReceivedMayBeSentBackInAnyOrder) {
  ASSERT_TRUE(stream_
                  .set_read_callback([&](std::string_view bytes) {
                    stream_.write(bytes.substr(3));
                    stream_.write(bytes.substr(0, 3));
                    stream_.write("-");
                    stream_.write(bytes);
                  })
                  .ok());
  write_all(connection_.peer.get(), "abcdef");
  EXPECT_EQ(receive(connection_.peer, 13), "defabc-abcdef");
}

// ---- Shared bytes

TEST_P(IOStreamGather, SharedBytesGoToManyStreamsWithoutACopy) {
  const SharedBytes bytes = std::make_shared<const std::string>(numbered_bytes(kLarge));
  std::vector<Connection> connections;
  for (int i = 0; i < 3; ++i) {
    connections.push_back(connect(socket_pair()));
    EXPECT_TRUE(connections.back().stream->write(bytes).accepted());
  }
  EXPECT_EQ(bytes.use_count(), 4) << "each of them waits for the rest";
  for (const Connection& connection : connections) {
    EXPECT_TRUE(receive(connection.peer, kLarge) == *bytes);
  }
  EXPECT_EQ(bytes.use_count(), 1);
}

TEST_P(IOStreamGather, SharedBytesKeepTheirPlaceInTheRow) {
  const SharedBytes bytes = std::make_shared<const std::string>(numbered_bytes(kLarge));
  stream_.write("<");
  stream_.write(bytes);
  stream_.write("|");
  stream_.write(bytes);
  stream_.write(">");
  EXPECT_TRUE(receive(connection_.peer, 2 * kLarge + 3) == "<" + *bytes + "|" + *bytes + ">");
}

TEST_P(IOStreamGather, SharedBytesAreFreedWithTheStream) {
  const SharedBytes bytes = std::make_shared<const std::string>(kLarge, 'x');
  stream_.write(bytes);
  stream_.close();
  EXPECT_EQ(bytes.use_count(), 1);
}

TEST_P(IOStreamGather, NoSharedBytesAreInvalidArgument) {
  run_task([&]() -> Task<void> {
    EXPECT_EQ((co_await stream_.write(SharedBytes())).code(), StatusCode::kInvalidArgument);
  });
  EXPECT_FALSE(stream_.closed());
}

// ---- Files

class IOStreamSendfile : public IOStreamGather {
 protected:
  // A file with these bytes, without a name.
  static SharedFile file(std::string_view bytes) {
    std::string path = std::string(::getenv("TEST_TMPDIR")) + "/file.XXXXXX";
    UniqueFd fd(::mkstemp(path.data()));
    EXPECT_TRUE(fd) << path;
    ::unlink(path.c_str());
    write_all(fd.get(), bytes);
    return std::make_shared<const UniqueFd>(std::move(fd));
  }
};
GYRE_FOR_EACH_BACKEND(IOStreamSendfile);

TEST_P(IOStreamSendfile, SendsAFileBetweenOtherBytes) {
  const std::string content = numbered_bytes(3 * kLarge);
  bool done = false;
  loop_->spawn_callback([&]() -> Task<void> {
    stream_.write("<");
    const absl::Status status = co_await stream_.sendfile(file(content));
    EXPECT_TRUE(status.ok()) << status;
    EXPECT_EQ(stream_.bytes_sent(), content.size() + 1);
    stream_.write(">");
    done = true;
  });
  EXPECT_TRUE(receive(connection_.peer, content.size() + 2) == "<" + content + ">");
  EXPECT_TRUE(done);
}

TEST_P(IOStreamSendfile, SendsAPartAndWhatFollowsComesAfterIt) {
  const std::string content = numbered_bytes(kLarge);
  const SharedFile shared = file(content);
  stream_.sendfile(shared, 1000, 500);
  stream_.write("|");
  stream_.sendfile(shared, content.size() - 10);
  stream_.sendfile(shared, 5, 0);
  EXPECT_EQ(receive(connection_.peer, 511),
            content.substr(1000, 500) + "|" + content.substr(content.size() - 10));
}

TEST_P(IOStreamSendfile, ManyStreamsMaySendTheSameFile) {
  const std::string content = numbered_bytes(kLarge);
  const SharedFile shared = file(content);
  const Connection other = connect(socket_pair());
  stream_.sendfile(shared);
  other.stream->sendfile(shared);
  EXPECT_EQ(stream_.write_buffer_size(), 0u) << "a file takes no memory";
  EXPECT_TRUE(receive(connection_.peer, kLarge) == content);
  EXPECT_TRUE(receive(other.peer, kLarge) == content);
  EXPECT_EQ(shared.use_count(), 1);
}

TEST_P(IOStreamSendfile, InAReadCallbackKeepsTheOrder) {
  ASSERT_TRUE(stream_
                  .set_read_callback([&](std::string_view) {
                    stream_.write("head ");
                    stream_.sendfile(file("body"));
                    stream_.write(" tail");
                  })
                  .ok());
  write_all(connection_.peer.get(), "?");
  EXPECT_EQ(receive(connection_.peer, 14), "head body tail");
}

TEST_P(IOStreamSendfile, WhatIsNoFileIsNamedAndTheStreamGoesOn) {
  const FdPair pipe = pipe_pair();
  run_task([&]() -> Task<void> {
    EXPECT_EQ((co_await stream_.sendfile(SharedFile())).code(), StatusCode::kInvalidArgument);
    EXPECT_EQ((co_await stream_.sendfile(UniqueFd())).code(), StatusCode::kInvalidArgument);
    const absl::Status status = co_await stream_.sendfile(UniqueFd(::dup(pipe.a.get())));
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr("not a regular file"));
    EXPECT_EQ((co_await stream_.sendfile(file("abc"), 4)).code(), StatusCode::kOutOfRange);
    EXPECT_EQ((co_await stream_.sendfile(file("abc"), 1, 3)).code(), StatusCode::kOutOfRange);
  });
  EXPECT_FALSE(stream_.closed());
  EXPECT_EQ(stream_.bytes_sent(), 0u);
}

// What follows would be taken for the file's bytes.
TEST_P(IOStreamSendfile, AFileThatIsCutShortMeanwhileClosesTheStream) {
  Closing closing;
  watch(stream_, closing);
  const SharedFile shared = file(numbered_bytes(4 * kLarge));
  stream_.sendfile(shared);
  ASSERT_EQ(::ftruncate(shared->get(), 10), 0);
  receive(connection_.peer, 4 * kLarge);
  run_until([&] { return closing.times > 0; });
  EXPECT_EQ(closing.reason.code(), StatusCode::kDataLoss);
}

// sendfile(2) knows no MSG_NOSIGNAL.
TEST_P(IOStreamSendfile, ToAPeerThatIsGoneRaisesNoSignal) {
  Connection tcp = connect(tcp_pair());
  reset_connection(std::move(tcp.peer));
  absl::Status status;
  loop_->spawn_callback([&]() -> Task<void> {
    status = co_await tcp.stream->sendfile(file(numbered_bytes(kLarge)));
  });
  run_until([&] { return tcp.stream->closed() && !status.ok(); });
  EXPECT_EQ(status.code(), StatusCode::kUnavailable) << status;
  connection_.peer.reset();
  EXPECT_FALSE(stream_.sendfile(file("x")).accepted());
  EXPECT_TRUE(stream_.closed());
}

// ---- Limits

TEST_P(IOStreamGather, BeyondTheLimitAWriteMayFailAlone) {
  IOStreamOptions options;
  options.max_write_buffer_size = 100 * 1024;
  options.on_write_overflow = WriteOverflow::kFail;
  const Connection small = connect(socket_pair(), options);
  const std::string block = numbered_bytes(4096);
  std::string sent;
  while (small.stream->write(block).accepted()) sent += block;
  run_task([&]() -> Task<void> {
    const std::vector<std::string_view> pieces{block};
    EXPECT_EQ((co_await small.stream->write(pieces)).code(), StatusCode::kResourceExhausted);
    const auto shared = std::make_shared<const std::string>(block);
    EXPECT_EQ((co_await small.stream->write(shared)).code(), StatusCode::kResourceExhausted);
  });
  EXPECT_FALSE(small.stream->closed());
  EXPECT_TRUE(receive(small.peer, sent.size()) == sent);
  EXPECT_TRUE(small.stream->write("goes on").accepted());
  EXPECT_EQ(receive(small.peer, 7), "goes on");
}

TEST_P(IOStreamGather, TheWaterMarksAreToldByTurns) {
  std::vector<bool> told;
  ASSERT_TRUE(stream_
                  .set_watermarks(64 * 1024, 512 * 1024,
                                  [&](bool above) {
                                    told.push_back(above);
                                    EXPECT_LE(stream_.write_buffer_size(),
                                              above ? ~size_t{0} : 64u * 1024);
                                  })
                  .ok());
  for (int i = 0; i < 2; ++i) {
    stream_.write(std::string(2 * kLarge, 'x'));
    stream_.write("more");
    EXPECT_THAT(told.size(), 2u * i) << "never inside the call";
    run_turns(2);
    EXPECT_EQ(told.size(), 2u * i + 1);
    EXPECT_EQ(receive(connection_.peer, 2 * kLarge + 4).size(), 2 * kLarge + 4);
    run_turns(2);
  }
  EXPECT_THAT(told, ElementsAre(true, false, true, false));
}

TEST_P(IOStreamGather, ALevelThatIsOverBeforeItWasToldIsNotTold) {
  bool called = false;
  ASSERT_TRUE(stream_.set_watermarks(0, 1000, [&](bool) { called = true; }).ok());
  stream_.write(std::string(10, 'x'));
  run_turns(3);
  EXPECT_FALSE(called);
}

TEST_P(IOStreamGather, WaterMarksTheWrongWayRoundAreInvalidArgument) {
  EXPECT_EQ(stream_.set_watermarks(10, 10, [](bool) {}).code(), StatusCode::kInvalidArgument);
  stream_.close();
  EXPECT_FALSE(stream_.set_watermarks(1, 2, [](bool) {}).ok());
}

TEST_P(IOStreamGather, AWaterMarkCallbackMayReplaceItselfAndClose) {
  ASSERT_TRUE(stream_
                  .set_watermarks(0, 1000,
                                  [&, kept = std::string(100, 'k')](bool) {
                                    EXPECT_TRUE(stream_.set_watermarks(0, 1, nullptr).ok());
                                    EXPECT_EQ(kept.size(), 100u) << "destroyed while it runs";
                                    stream_.close();
                                  })
                  .ok());
  stream_.write(std::string(kLarge, 'x'));
  run_until([&] { return stream_.closed(); });
}

}  // namespace
}  // namespace gyre::testing
