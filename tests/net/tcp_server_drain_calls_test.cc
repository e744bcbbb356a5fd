// A drain that is asked for on any thread, by several at once, from handlers and destructors, and
// what may follow it.

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
#include "gyre/tests/net/tcp_server_drain_fixture.h"
#include "gyre/tests/net/tcp_server_fixture.h"
#include "gyre/tests/support/event.h"

namespace gyre::testing {
namespace {

using std::chrono::hours;

class TCPServerDrainByAcceptor : public TCPServerDrain {};
GYRE_FOR_EACH_SERVER_BY_ACCEPTOR(TCPServerDrainByAcceptor);

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

}  // namespace
}  // namespace gyre::testing
