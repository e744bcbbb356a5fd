// What a drain waits for, what it reports, and from where it may be asked: on every backend and
// with each way to accept.

#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "gyre/loop/future.h"
#include "gyre/loop/task.h"
#include "gyre/net/tcp_server.h"
#include "gyre/tests/net/stream_fixture.h"
#include "gyre/tests/net/tcp_client.h"
#include "gyre/tests/net/tcp_server_fixture.h"
#include "gyre/tests/support/event.h"

namespace gyre::testing {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using ::testing::HasSubstr;

class TCPServerDrain : public TcpServerTest {
 protected:
  // Answers each line when it is told to; begun() says how many lines were read.
  void serve_slow_answers(TCPServerOptions options = TcpServerTest::options()) {
    serve(
        [this](std::shared_ptr<IOStream> stream) -> Task<void> {
          for (;;) {
            const absl::StatusOr<std::string> line = co_await stream->read_until("\n");
            if (!line.ok()) co_return;
            Promise<void> promise;
            Future<void> answer = promise.get_future();
            {
              std::lock_guard<std::mutex> lock(mutex_);
              pending_.push_back(std::move(promise));
            }
            begun_.set();
            co_await answer;
            stream->write("re: " + *line);
          }
        },
        std::move(options));
  }
  void answer_all() {
    std::lock_guard<std::mutex> lock(mutex_);
    for (Promise<void>& promise : pending_) promise.set_value();
    pending_.clear();
  }

  // A drain that goes on in a thread of its own. It has begun when its port is free: to connect
  // would be one more connection to drain.
  std::thread drain_in_thread(IOLoop::Duration deadline, DrainReport* report) {
    const SocketAddress address = server_->address();
    std::thread thread([this, deadline, report] { *report = server_->drain(deadline); });
    EXPECT_TRUE(comes_true([&] { return ListenSocket::bind(address).ok(); }));
    return thread;
  }
  void expect_ended(const DrainReport& report, uint64_t served, uint64_t cut_off) {
    EXPECT_TRUE(report.finished);
    EXPECT_EQ(report.cut_off, cut_off) << report.to_string();
    EXPECT_GE(report.served, served) << report.to_string();
    uint64_t by_loop = 0;
    ASSERT_EQ(report.loops.size(), static_cast<size_t>(kLoops));
    for (const DrainReport::Loop& loop : report.loops) by_loop += loop.served + loop.cut_off;
    EXPECT_EQ(by_loop, report.served + report.cut_off);
    EXPECT_EQ(report.loops[1].name, "pool-1");
    EXPECT_EQ(server_->open_connections(), 0u);
  }

  Event begun_;
  std::mutex mutex_;
  std::vector<Promise<void>> pending_;
};
GYRE_FOR_EACH_SERVER(TCPServerDrain);

class TCPServerDrainByAcceptor : public TCPServerDrain {};
GYRE_FOR_EACH_SERVER_BY_ACCEPTOR(TCPServerDrainByAcceptor);

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

// ---- From anywhere

TEST_P(TCPServerDrain, OnAThreadOfThePoolDoesNotWaitForItself) {
  Event returned;
  DrainReport begun;
  serve([&](std::shared_ptr<IOStream> stream) {
    IOStream* const raw = stream.get();
    stream
        ->set_read_callback([&, raw](std::string_view) {
          raw->write("bye");
          begun = server_->drain(hours(1));
          returned.set();
        })
        .IgnoreError();
  });
  TcpClient client = connect(), other = connect();
  EXPECT_TRUE(client.send("stop"));
  EXPECT_TRUE(returned.wait());
  EXPECT_FALSE(begun.finished);
  EXPECT_EQ(client.receive(3), "bye");
  EXPECT_TRUE(client.sees_end());
  EXPECT_TRUE(other.sees_end());
  EXPECT_TRUE(comes_true([&] { return server_->open_connections() == 0; }));
}

TEST_P(TCPServerDrain, EachWordMayBeSaidOnEveryThreadOfThePoolAtOnce) {
  serve_echo();
  std::vector<TcpClient> clients;
  for (int i = 0; i < 6; ++i) clients.push_back(connect());
  for (TcpClient& client : clients) expect_echo(client);
  Event said;
  for (int round = 0; round < 3; ++round) {
    for (int i = 0; i < kLoops; ++i) {
      pool_->loop(i).add_callback([&, round] {
        if (round == 0) server_->stop_listening();
        if (round == 1) server_->drain(hours(1));
        if (round == 2) server_->close_now();
        said.set();
      });
    }
  }
  EXPECT_TRUE(said.wait(3 * kLoops));
  for (TcpClient& client : clients) EXPECT_TRUE(client.sees_end());
  EXPECT_TRUE(comes_true([&] { return server_->open_connections() == 0; }));
  // On these threads the words do not wait for the acceptor's.
  EXPECT_TRUE(comes_true([&] { return !TcpClient(server_->address()).connected(); }));
}

TEST_P(TCPServerDrain, AsyncIsAwaitedOnALoopOfThePool) {
  serve_slow_answers();
  TcpClient client = connect();
  EXPECT_TRUE(client.send("question\n"));
  EXPECT_TRUE(begun_.wait());
  Event ended;
  DrainReport report;
  pool_->loop(0).spawn_callback([&]() -> Task<void> {
    report = co_await server_->drain_async(hours(1));
    EXPECT_TRUE(pool_->loop(0).in_loop_thread());
    ended.set();
  });
  EXPECT_TRUE(comes_true([&] { return ListenSocket::bind(server_->address()).ok(); }));
  answer_all();
  EXPECT_EQ(client.receive(13), "re: question\n");
  EXPECT_TRUE(client.sees_end());
  EXPECT_TRUE(ended.wait());
  expect_ended(report, 1, 0);
}

TEST_P(TCPServerDrain, CloseNowEndsOneThatIsGoingOn) {
  serve_slow_answers();
  TcpClient client = connect();
  EXPECT_TRUE(client.send("question\n"));
  EXPECT_TRUE(begun_.wait());
  DrainReport report;
  std::thread drain = drain_in_thread(hours(1), &report);
  expect_ended(server_->close_now(), 0, 1);
  drain.join();
  expect_ended(report, 0, 1);
  EXPECT_TRUE(client.sees_end());
  answer_all();
}

// The acceptor is held up with a connection in its hands, so that the first drain cannot begin yet:
// what closes now has nothing to close yet, either.
TEST_P(TCPServerDrainByAcceptor, CloseNowEndsWhomTheAcceptorHasStillInItsHands) {
  Event held, go_on;
  TCPServerOptions slow = options();
  slow.pick_loop = [&](const SocketAddress&, const LoopLoads&) -> size_t {
    held.set();
    EXPECT_TRUE(go_on.wait());
    return 0;
  };
  serve_slow_answers(std::move(slow));
  TcpClient client = connect();
  EXPECT_TRUE(client.send("question\n"));
  EXPECT_TRUE(held.wait());
  Future<DrainReport> drained = server_->drain_async(hours(1));
  Future<DrainReport> closed = server_->drain_async(hours(0));
  Event looked;
  pool_->for_each([&](IOLoop&) { looked.set(); });
  EXPECT_TRUE(looked.wait(kLoops));
  EXPECT_FALSE(closed.done());
  go_on.set();
  EXPECT_TRUE(comes_true([&] { return drained.done() && closed.done(); }));
  EXPECT_EQ(closed.get().cut_off, 1u);
  EXPECT_EQ(drained.get().cut_off, 1u);
  EXPECT_EQ(server_->open_connections(), 0u);
  EXPECT_TRUE(client.sees_end());
  answer_all();
}

TEST_P(TCPServerDrain, FromSeveralThreadsAtOnceAllOfThemReturn) {
  serve_echo();
  TcpClient client = connect();
  expect_echo(client);
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&, i] {
      EXPECT_TRUE((i % 2 == 0 ? server_->drain(hours(1)) : server_->close_now()).finished);
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_TRUE(client.sees_end());
}

TEST_P(TCPServerDrain, MayGoOnWhileItsServerIsDestroyed) {
  serve_slow_answers();
  TcpClient client = connect();
  EXPECT_TRUE(client.send("question\n"));
  EXPECT_TRUE(begun_.wait());
  Event ended;
  pool_->loop(1).add_future(server_->drain_async(hours(1)), [&](Future<DrainReport> report) {
    EXPECT_TRUE(report.get().finished);
    ended.set();
  });
  server_.reset();
  EXPECT_TRUE(ended.wait());
  EXPECT_TRUE(client.sees_end());
  answer_all();
}

// Nobody comes to it any more, and the loops go one by one: the last of them must not post to those
// that are gone.
TEST_P(TCPServerDrain, ThatItsPoolDidNotComeToEndsWithThePool) {
  serve_slow_answers();
  TcpClient client = connect();
  EXPECT_TRUE(client.send("question\n"));
  EXPECT_TRUE(begun_.wait());
  Event busy, release;
  pool_->for_each([&](IOLoop&) {
    busy.set();
    EXPECT_TRUE(release.wait());
  });
  EXPECT_TRUE(busy.wait(kLoops));
  Future<DrainReport> drained = server_->drain_async(hours(1));
  pool_->stop();
  release.set();
  server_.reset();
  pool_.reset();
  EXPECT_TRUE(drained.done());
  EXPECT_TRUE(client.sees_end());
}

TEST_P(TCPServerDrain, AServerMayBeDestroyedOnALoopOfItsPool) {
  serve_echo();
  TcpClient client = connect();
  expect_echo(client);
  Event destroyed;
  pool_->loop(0).add_callback([&] {
    server_.reset();
    destroyed.set();
  });
  EXPECT_TRUE(destroyed.wait());
  EXPECT_TRUE(client.sees_end());
}

TEST_P(TCPServerDrain, MayBeFollowedByListen) {
  serve_echo();
  TcpClient client = connect();
  expect_echo(client);
  expect_ended(server_->drain(hours(1)), 1, 0);
  ASSERT_TRUE(server_->listen(0, "127.0.0.1").ok());
  TcpClient again(server_->address());  // the first one's
  EXPECT_FALSE(again.connected());
}

// ---- The queue of those who wait to be accepted

// Whoever was connected is served, at whatever moment the socket closes: nobody is reset.
TEST_P(TCPServerDrain, StopListeningResetsNobody) {
  serve_echo();
  std::atomic<int> served{0};
  std::vector<std::thread> clients;
  for (int i = 0; i < 3; ++i) {
    clients.emplace_back([&, address = server_->address()] {
      for (;;) {
        TcpClient client(address);
        if (!client.connected()) return;
        EXPECT_TRUE(client.send("x"));
        const std::string answer = client.receive(1);
        EXPECT_EQ(answer, "x") << "after " << served.load() << " connections";
        if (answer != "x") return;
        served.fetch_add(1);
      }
    });
  }
  EXPECT_TRUE(comes_true([&] { return served.load() > 100; }));
  server_->stop_listening();
  for (std::thread& client : clients) client.join();
}

}  // namespace
}  // namespace gyre::testing
