// Writing to a stream, on every backend.

#include <sys/socket.h>

#include <algorithm>
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

// More than the buffers of a pair of sockets take.
constexpr size_t kLarge = 1024 * 1024;

class IOStreamWrite : public StreamTest {
 protected:
  Connection connection_ = connect(socket_pair());
  IOStream& stream_ = *connection_.stream;
};
GYRE_FOR_EACH_BACKEND(IOStreamWrite);

TEST_P(IOStreamWrite, IsSentAtOnceIfTheKernelTakesIt) {
  EXPECT_TRUE(stream_.write("hello").accepted());
  EXPECT_EQ(read_available(connection_.peer.get()), "hello") << "before the loop ran";
  EXPECT_EQ(stream_.bytes_sent(), 5u);
  EXPECT_EQ(stream_.write_buffer_size(), 0u);
}

TEST_P(IOStreamWrite, KeepsTheOrderOfTheCallsWhetherOrNotTheyHadToWait) {
  std::string sent;
  for (int i = 0; i < 20000; ++i) {
    const std::string line = "line " + std::to_string(i) + "\n";
    stream_.write(line);
    sent += line;
    if (i == 10000) {
      const std::string large = numbered_bytes(kLarge);
      stream_.write(large);
      sent += large;
    }
  }
  EXPECT_GT(stream_.write_buffer_size(), 0u);
  EXPECT_TRUE(receive(connection_.peer, sent.size()) == sent);
  EXPECT_EQ(stream_.bytes_sent(), sent.size());
}

TEST_P(IOStreamWrite, EightMiBArriveWhole) {
  const Connection tcp = connect(tcp_pair());
  const std::string sent = numbered_bytes(8 * 1024 * 1024);
  tcp.stream->write(sent);
  EXPECT_EQ(tcp.stream->bytes_sent() + tcp.stream->write_buffer_size(), sent.size());
  EXPECT_TRUE(receive(tcp.peer, sent.size()) == sent);
  EXPECT_EQ(tcp.stream->write_buffer_size(), 0u);
}

// So that nearly every call of send(2) takes a part only.
TEST_P(IOStreamWrite, ThroughTheSmallestSendBufferNothingIsLost) {
  FdPair pair = socket_pair();
  shrink_send_buffer(pair.a.get());
  const Connection tight = connect(std::move(pair));
  const std::string sent = numbered_bytes(1024 * 1024);
  for (size_t at = 0; at < sent.size(); at += 5000) tight.stream->write(sent.substr(at, 5000));
  EXPECT_GT(tight.stream->write_buffer_size(), 0u);
  EXPECT_TRUE(receive(tight.peer, sent.size()) == sent);
}

TEST_P(IOStreamWrite, TheBytesAreTheCallersAgainAfterTheCall) {
  std::string bytes = numbered_bytes(kLarge);
  const std::string sent = bytes;
  stream_.write(bytes);
  std::fill(bytes.begin(), bytes.end(), '?');
  EXPECT_TRUE(receive(connection_.peer, sent.size()) == sent);
}

TEST_P(IOStreamWrite, OfNothingIsAcceptedAndSendsNothing) {
  run_task([&]() -> Task<void> {
    const absl::Status status = co_await stream_.write("");
    EXPECT_TRUE(status.ok()) << status;
  });
  EXPECT_EQ(stream_.bytes_sent(), 0u);
  EXPECT_EQ(read_available(connection_.peer.get()), "");
}

TEST_P(IOStreamWrite, AWriterThatIsIdleDoesNotSpin) {
  stream_.write("x");
  run_turns(3);
  const uint64_t events = loop_->metrics().events;
  run_turns(50);
  EXPECT_EQ(loop_->metrics().events, events) << "it is writable, and nobody asks";
}

TEST_P(IOStreamWrite, APeerThatDoesNotReadDoesNotMakeItSpin) {
  stream_.write(std::string(kLarge, 'x'));
  run_turns(5);
  const uint64_t events = loop_->metrics().events;
  run_turns(50);
  EXPECT_EQ(loop_->metrics().events, events);
}

// ---- In a read callback

TEST_P(IOStreamWrite, InAReadCallbackAnswersAreSentTogetherAfterIt) {
  ASSERT_TRUE(stream_
                  .set_read_callback([&](std::string_view bytes) {
                    for (const char byte : bytes) {
                      EXPECT_TRUE(stream_.write(std::string(2, byte)).accepted());
                    }
                    EXPECT_EQ(read_available(connection_.peer.get()), "");
                  })
                  .ok());
  write_all(connection_.peer.get(), "abc");
  EXPECT_EQ(receive(connection_.peer, 6), "aabbcc");
}

TEST_P(IOStreamWrite, InAReadCallbackLargeAndSmallAnswersKeepTheirOrder) {
  std::string sent;
  ASSERT_TRUE(stream_
                  .set_read_callback([&](std::string_view) {
                    std::mt19937 random(1);
                    for (int i = 0; i < 200; ++i) {
                      // Around what is sent together, and what is sent as it is.
                      const size_t size = i % 5 == 0 ? random() % 40000 : random() % 100;
                      const std::string answer = numbered_bytes(size);
                      stream_.write(answer);
                      sent += answer;
                    }
                  })
                  .ok());
  write_all(connection_.peer.get(), "?");
  run_until([&] { return !sent.empty(); });
  EXPECT_TRUE(receive(connection_.peer, sent.size()) == sent);
}

TEST_P(IOStreamWrite, InAReadCallbackToAnotherStreamIsSentAtOnce) {
  const Connection other = connect(socket_pair());
  bool called = false;
  ASSERT_TRUE(stream_
                  .set_read_callback([&](std::string_view bytes) {
                    stream_.write("mine");
                    other.stream->write(bytes);
                    EXPECT_EQ(read_available(other.peer.get()), "theirs");
                    called = true;
                  })
                  .ok());
  write_all(connection_.peer.get(), "theirs");
  EXPECT_EQ(receive(connection_.peer, 4), "mine");
  EXPECT_TRUE(called);
}

TEST_P(IOStreamWrite, BeforeACloseInTheSameReadCallbackItIsSent) {
  ASSERT_TRUE(stream_
                  .set_read_callback([&](std::string_view) {
                    stream_.write("good ");
                    stream_.write("bye");
                    stream_.close();
                  })
                  .ok());
  write_all(connection_.peer.get(), "?");
  EXPECT_EQ(receive(connection_.peer, 100), "good bye");
  EXPECT_TRUE(at_end(connection_.peer.get()));
}

// ---- Awaited

TEST_P(IOStreamWrite, AwaitedItIsDoneOnceTheKernelHasTheBytes) {
  const std::string sent = numbered_bytes(kLarge);
  bool done = false;
  loop_->spawn_callback([&]() -> Task<void> {
    const absl::Status status = co_await stream_.write(sent);
    EXPECT_TRUE(status.ok()) << status;
    EXPECT_EQ(stream_.bytes_sent(), sent.size());
    done = true;
  });
  run_turns(5);
  EXPECT_FALSE(done) << "the peer has not read yet";
  EXPECT_TRUE(receive(connection_.peer, sent.size()) == sent);
  EXPECT_TRUE(done);
}

TEST_P(IOStreamWrite, SeveralWritersAreResumedInTheOrderOfTheirWrites) {
  std::vector<int> order;
  for (int i = 0; i < 4; ++i) {
    loop_->spawn_callback([&, i]() -> Task<void> {
      const absl::Status status = co_await stream_.write(std::string(kLarge / 2, 'a' + i));
      EXPECT_TRUE(status.ok()) << status;
      order.push_back(i);
    });
  }
  run_turns(2);
  EXPECT_EQ(receive(connection_.peer, 2 * kLarge).size(), 2 * kLarge);
  EXPECT_THAT(order, ElementsAre(0, 1, 2, 3));
}

TEST_P(IOStreamWrite, ManyWritersLoseNothingAndEachKeepsItsOrder) {
  constexpr size_t kWriters = 10, kWrites = 200, kBytes = 1000;
  size_t finished = 0;
  for (size_t writer = 0; writer < kWriters; ++writer) {
    loop_->spawn_callback([&, writer]() -> Task<void> {
      for (size_t i = 0; i < kWrites; ++i) {
        std::string record(kBytes, static_cast<char>('a' + writer));
        record[0] = static_cast<char>('0' + i % 10);
        const absl::Status status = co_await stream_.write(record);
        EXPECT_TRUE(status.ok()) << status;
      }
      ++finished;
    });
  }
  const std::string received = receive(connection_.peer, kWriters * kWrites * kBytes);
  ASSERT_EQ(received.size(), kWriters * kWrites * kBytes);
  run_until([&] { return finished == kWriters; });
  std::vector<size_t> next(kWriters);
  for (size_t at = 0; at < received.size(); at += kBytes) {
    const size_t writer = received[at + 1] - 'a';
    ASSERT_LT(writer, kWriters);
    ASSERT_EQ(received[at], static_cast<char>('0' + next[writer]++ % 10)) << "at byte " << at;
  }
}

// ---- The drain callback

TEST_P(IOStreamWrite, TheDrainCallbackComesOnceEverythingThatWaitedWasSent) {
  int drained = 0;
  stream_.set_drain_callback([&] {
    ++drained;
    EXPECT_EQ(stream_.write_buffer_size(), 0u);
  });
  stream_.write("taken at once");
  run_turns(3);
  EXPECT_EQ(drained, 0) << "nothing had to wait";
  size_t expected = 13;
  for (int i = 1; i <= 2; ++i) {
    stream_.write(std::string(kLarge, 'x'));
    expected = i == 1 ? 13 + kLarge : kLarge;
    EXPECT_EQ(receive(connection_.peer, expected).size(), expected);
    run_turns(2);
    EXPECT_EQ(drained, i);
  }
}

TEST_P(IOStreamWrite, TheDrainCallbackMayWriteMore) {
  int drained = 0;
  stream_.set_drain_callback([&] {
    if (++drained < 3) stream_.write(std::string(kLarge, 'x'));
  });
  stream_.write(std::string(kLarge, 'x'));
  EXPECT_EQ(receive(connection_.peer, 3 * kLarge).size(), 3 * kLarge);
  run_turns(2);
  EXPECT_EQ(drained, 3);
}

TEST_P(IOStreamWrite, TheDrainCallbackMayReplaceItself) {
  std::vector<std::string> calls;
  stream_.set_drain_callback([&, kept = std::string(100, 'k')] {
    stream_.set_drain_callback([&] { calls.push_back("second"); });
    EXPECT_EQ(kept.size(), 100u) << "destroyed while it runs";
    calls.push_back("first");
  });
  for (int i = 0; i < 2; ++i) {
    stream_.write(std::string(kLarge, 'x'));
    EXPECT_EQ(receive(connection_.peer, kLarge).size(), kLarge);
    run_turns(2);
  }
  EXPECT_THAT(calls, ElementsAre("first", "second"));
}

// ---- Limits and errors

TEST_P(IOStreamWrite, APeerThatDoesNotReadFillsNoMoreThanMaxWriteBufferSize) {
  IOStreamOptions options;
  options.max_write_buffer_size = 100 * 1024;
  const Connection small = connect(socket_pair(), options);
  Closing closing;
  watch(*small.stream, closing);
  int accepted = 0;
  while (accepted < 100000 && small.stream->write(std::string(4096, 'x')).accepted()) {
    ++accepted;
    EXPECT_LE(small.stream->write_buffer_size(), options.max_write_buffer_size);
  }
  EXPECT_TRUE(small.stream->closed());
  run_until([&] { return closing.times > 0; });
  EXPECT_EQ(closing.reason.code(), StatusCode::kResourceExhausted);
}

TEST_P(IOStreamWrite, OneWriteMayBeLargerThanMaxWriteBufferSizeWhileNothingWaits) {
  IOStreamOptions options;
  options.max_write_buffer_size = 1000;
  const Connection small = connect(socket_pair(), options);
  const std::string sent = numbered_bytes(kLarge);
  EXPECT_TRUE(small.stream->write(sent).accepted());
  EXPECT_TRUE(receive(small.peer, sent.size()) == sent);
  EXPECT_FALSE(small.stream->closed());
}

TEST_P(IOStreamWrite, ToAClosedStreamIsNotAcceptedAndSaysWhy) {
  stream_.close(absl::DataLossError("the reason"));
  EXPECT_FALSE(stream_.write("x").accepted());
  run_task([&]() -> Task<void> {
    EXPECT_EQ((co_await stream_.write("x")).code(), StatusCode::kDataLoss);
  });
}

TEST_P(IOStreamWrite, ToAStreamThatIsClosingIsFailedPrecondition) {
  stream_.write(std::string(kLarge, 'x'));
  stream_.close_when_flushed();
  EXPECT_FALSE(stream_.write("x").accepted());
  bool failed = false;
  loop_->spawn_callback([&]() -> Task<void> {
    failed = (co_await stream_.write("x")).code() == StatusCode::kFailedPrecondition;
  });
  run_turns(1);
  EXPECT_TRUE(failed);
  EXPECT_EQ(receive(connection_.peer, kLarge + 1).size(), kLarge);
}

// Without MSG_NOSIGNAL the process would die of SIGPIPE.
TEST_P(IOStreamWrite, ToAPeerThatIsGoneClosesTheStreamWithTheErrorOfTheCall) {
  Closing closing;
  watch(stream_, closing);
  connection_.peer.reset();
  EXPECT_FALSE(stream_.write("x").accepted());
  EXPECT_TRUE(stream_.closed());
  run_turns(1);
  EXPECT_EQ(closing.times, 1);
  EXPECT_EQ(closing.reason.code(), StatusCode::kUnavailable);
  EXPECT_THAT(std::string(closing.reason.message()), ::testing::HasSubstr("send: "));
}

TEST_P(IOStreamWrite, APeerThatResetsFreesWhatWaitsAndFailsTheWriters) {
  Connection tcp = connect(tcp_pair());
  Closing closing;
  watch(*tcp.stream, closing);
  absl::Status written;
  loop_->spawn_callback([&]() -> Task<void> {
    const std::shared_ptr<IOStream> stream = tcp.stream;
    written = co_await stream->write(std::string(32 * 1024 * 1024, 'x'));
  });
  run_turns(2);
  EXPECT_GT(tcp.stream->write_buffer_size(), 0u);
  reset_connection(std::move(tcp.peer));
  run_until([&] { return closing.times > 0 && !written.ok(); });
  EXPECT_EQ(written.code(), StatusCode::kUnavailable) << written;
  EXPECT_EQ(closing.reason, written) << "one reason for all";
  EXPECT_EQ(tcp.stream->write_buffer_size(), 0u);
  run_turns(5);
  EXPECT_EQ(closing.times, 1);
}

}  // namespace
}  // namespace gyre::testing
