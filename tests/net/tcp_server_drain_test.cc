// What a drain waits for, what it reports, and from where it may be asked: on every backend and
// with each way to accept.

#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "gyre/loop/future.h"
#include "gyre/loop/task.h"
#include "gyre/net/tcp_server.h"
#include "gyre/tests/net/stream_fixture.h"
#include "gyre/tests/net/tcp_client.h"
#include "gyre/tests/net/tcp_server_drain_fixture.h"
#include "gyre/tests/net/tcp_server_fixture.h"
#include "gyre/tests/support/event.h"

namespace gyre::testing {
namespace {

using std::chrono::hours;
using ::testing::HasSubstr;

GYRE_FOR_EACH_SERVER(TCPServerDrain);

TEST_P(TCPServerDrain, LetsACoroutineFinishTheAnswerThatItIsAt) {
  serve_slow_answers();
  TcpClient client = connect();
  EXPECT_TRUE(client.send("question\n"));
  EXPECT_TRUE(begun_.wait());
  DrainReport report;
  std::thread drain = drain_in_thread(hours(1), &report);
  EXPECT_EQ(server_->open_connections(), 1u);
  answer_all();
  EXPECT_EQ(client.receive(13), "re: question\n");
  EXPECT_TRUE(client.sees_end());
  drain.join();
  expect_ended(report, 1, 0);
  EXPECT_EQ(report.last, client.local_address());
  EXPECT_FALSE(report.last_was_cut_off);
}

TEST_P(TCPServerDrain, ClosesIdleConnectionsWhileOthersAreBusy) {
  serve_slow_answers();
  TcpClient busy = connect(), idle = connect();
  EXPECT_TRUE(busy.send("question\n"));
  EXPECT_TRUE(begun_.wait());
  DrainReport report;
  std::thread drain = drain_in_thread(hours(1), &report);
  EXPECT_TRUE(idle.sees_end());
  answer_all();
  EXPECT_EQ(busy.receive(13), "re: question\n");
  EXPECT_TRUE(busy.sees_end());
  drain.join();
  expect_ended(report, 2, 0);
}

// The client has begun to ask, and may not know yet that nobody listens any more.
TEST_P(TCPServerDrain, WaitsForTheRestOfARequest) {
  Event half;
  serve([&](std::shared_ptr<IOStream> stream) -> Task<void> {
    if (!(co_await stream->read_bytes(1)).ok()) co_return;
    half.set();
    for (;;) {
      const absl::StatusOr<std::string> line = co_await stream->read_until("\n");
      if (!line.ok()) co_return;
      stream->write("re: " + *line);
    }
  });
  TcpClient client = connect();
  EXPECT_TRUE(client.send("qhal"));
  EXPECT_TRUE(half.wait());
  DrainReport report;
  std::thread drain = drain_in_thread(hours(1), &report);
  EXPECT_TRUE(client.send("f\n"));
  EXPECT_EQ(client.receive(9), "re: half\n");
  EXPECT_TRUE(client.sees_end());
  drain.join();
  expect_ended(report, 1, 0);
}

TEST_P(TCPServerDrain, ServesWhatWasSentBehindTheRequestThatItIsAt) {
  serve_slow_answers();
  TcpClient client = connect();
  EXPECT_TRUE(client.send("one\ntwo\n"));
  EXPECT_TRUE(begun_.wait());
  DrainReport report;
  std::thread drain = drain_in_thread(hours(1), &report);
  answer_all();
  EXPECT_TRUE(begun_.wait(2));
  answer_all();
  EXPECT_EQ(client.receive(16), "re: one\nre: two\n");
  EXPECT_TRUE(client.sees_end());
  drain.join();
  expect_ended(report, 1, 0);
}

// A coroutine that greets before it reads anything is not idle.
TEST_P(TCPServerDrain, LetsACoroutineSayWhatItHasToSayFirst) {
  Event begun;
  Promise<void> promise;
  auto ready = std::make_shared<Future<void>>(promise.get_future());
  serve([&, ready](std::shared_ptr<IOStream> stream) -> Task<void> {
    begun.set();
    co_await *ready;
    stream->write("220 welcome\n");
    static_cast<void>(co_await stream->read_until("\n"));
  });
  TcpClient client = connect();
  EXPECT_TRUE(begun.wait());
  DrainReport report;
  std::thread drain = drain_in_thread(hours(1), &report);
  promise.set_value();
  EXPECT_EQ(client.receive(12), "220 welcome\n");
  EXPECT_TRUE(client.sees_end());
  drain.join();
  expect_ended(report, 1, 0);
}

// A callback that answers later than it returns has to say so.
TEST_P(TCPServerDrain, WaitsForWhoIsKeptBusy) {
  Event begun;
  IOLoop* loop = nullptr;
  std::shared_ptr<IOStream> asked;
  std::shared_ptr<IOStream::Busy> busy;
  serve([&](std::shared_ptr<IOStream> stream) {
    IOStream* const raw = stream.get();
    stream
        ->set_read_callback([&, raw](std::string_view) {
          busy = std::make_shared<IOStream::Busy>(raw->keep_busy());
          asked = raw->shared_from_this();
          loop = &raw->loop();
          begun.set();
        })
        .IgnoreError();
  });
  TcpClient client = connect();
  EXPECT_TRUE(client.send("?"));
  EXPECT_TRUE(begun.wait());
  DrainReport report;
  std::thread drain = drain_in_thread(hours(1), &report);
  EXPECT_EQ(server_->open_connections(), 1u);
  loop->add_callback([&] {
    std::exchange(asked, nullptr)->write("!");
    busy.reset();
  });
  EXPECT_EQ(client.receive(1), "!");
  EXPECT_TRUE(client.sees_end());
  drain.join();
  expect_ended(report, 1, 0);
}

TEST_P(TCPServerDrain, AtItsDeadlineSaysWhoWasCutOff) {
  use_virtual_time();
  serve_slow_answers();
  TcpClient client = connect(), idle = connect();
  EXPECT_TRUE(client.send("question\n"));
  EXPECT_TRUE(begun_.wait());
  const IOLoop::TimePoint start = time_.clock.now();
  VirtualTime::Hold until_each_loop_drains(time_);
  DrainReport report;
  std::thread drain = drain_in_thread(hours(1), &report);
  EXPECT_TRUE(idle.sees_end());
  until_each_loop_drains.release();
  drain.join();
  EXPECT_EQ(time_.clock.now() - start, hours(1));
  expect_ended(report, 1, 1);
  EXPECT_EQ(report.last, client.local_address());
  EXPECT_TRUE(report.last_was_cut_off);
  EXPECT_THAT(report.to_string(), HasSubstr("1 cut off after 0.0 s; the last was " +
                                            client.local_address().to_string() + ", cut off"));
  EXPECT_TRUE(client.sees_end());
  answer_all();
}

}  // namespace
}  // namespace gyre::testing
