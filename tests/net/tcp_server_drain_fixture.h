#ifndef GYRE_TESTS_NET_TCP_SERVER_DRAIN_FIXTURE_H_
#define GYRE_TESTS_NET_TCP_SERVER_DRAIN_FIXTURE_H_

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "gtest/gtest.h"
#include "gyre/loop/future.h"
#include "gyre/loop/io_loop.h"
#include "gyre/loop/task.h"
#include "gyre/net/io_stream.h"
#include "gyre/net/listen_socket.h"
#include "gyre/net/socket_address.h"
#include "gyre/net/tcp_server.h"
#include "gyre/tests/net/tcp_server_fixture.h"
#include "gyre/tests/support/event.h"

namespace gyre::testing {

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

}  // namespace gyre::testing

#endif  // GYRE_TESTS_NET_TCP_SERVER_DRAIN_FIXTURE_H_
