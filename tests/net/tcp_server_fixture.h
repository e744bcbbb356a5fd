#ifndef GYRE_TESTS_NET_TCP_SERVER_FIXTURE_H_
#define GYRE_TESTS_NET_TCP_SERVER_FIXTURE_H_

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <tuple>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gtest/gtest.h"
#include "gyre/loop/io_loop.h"
#include "gyre/net/io_stream.h"
#include "gyre/net/tcp_server.h"
#include "gyre/testing/virtual_time.h"
#include "gyre/tests/net/tcp_client.h"
#include "gyre/tests/support/event.h"
#include "gyre/tests/support/log_capture.h"
#include "gyre/tests/support/loop_fixture.h"
#include "gyre/tests/support/sockets.h"
#include "gyre/threading/loop_pool.h"

namespace gyre::testing {

inline std::string name_of(AcceptMode mode) {
  return mode == AcceptMode::kThread   ? "thread"
         : mode == AcceptMode::kShared ? "shared"
                                       : "reuseport";
}

// A server on a pool of two loops, of each backend and with each way to accept. The log is watched,
// and when all is over no fd may be left.
class TcpServerTest : public ::testing::TestWithParam<std::tuple<Backend, AcceptMode>> {
 protected:
  static constexpr int kLoops = 2;

  TcpServerTest() { make_pool(nullptr); }
  ~TcpServerTest() override {
    server_.reset();
    pool_.reset();
    EXPECT_EQ(count_open_fds(), fds_before_) << "fds are left behind";
  }

  // Before serve(): time jumps to where all loops of the pool and the acceptor would sleep to.
  void use_virtual_time() {
    make_pool([this](IOLoopOptions options) { return time_.create_loop(std::move(options)); });
  }

  static TCPServerOptions options() {
    TCPServerOptions options;
    options.accept = std::get<AcceptMode>(GetParam());
    return options;
  }

  // Listens on a port that the kernel picks.
  template <class H>
  void serve(H handler, TCPServerOptions options = TcpServerTest::options()) {
    server_ = std::make_unique<TCPServer>(*pool_, std::move(handler), std::move(options));
    const absl::Status status = server_->listen(0, "127.0.0.1");
    ASSERT_TRUE(status.ok()) << status;
  }
  void serve_echo() {
    serve([](std::shared_ptr<IOStream> stream) {
      stream
          ->set_read_callback(
              [stream = stream.get()](std::string_view bytes) { stream->write(bytes); })
          .IgnoreError();
    });
  }

  TcpClient connect() {
    TcpClient client(server_->address());
    EXPECT_TRUE(client.connected());
    return client;
  }
  void expect_echo(TcpClient& client, std::string_view bytes = "echo") {
    EXPECT_TRUE(client.send(bytes));
    EXPECT_EQ(client.receive(bytes.size()), bytes);
  }

  // Asks again and again, since the books of the loops are counts that nobody announces.
  template <class F>
  [[nodiscard]] static bool comes_true(F claim) {
    const auto deadline = std::chrono::steady_clock::now() + kDeadline;
    while (!claim()) {
      if (std::chrono::steady_clock::now() > deadline) return false;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return true;
  }
  uint64_t accepted() const {
    uint64_t sum = 0;
    for (int i = 0; i < kLoops; ++i) sum += server_->stats(i).accepted;
    return sum;
  }

  const int fds_before_ = count_open_fds();
  LogCapture log_;
  VirtualTime time_;
  std::unique_ptr<LoopPool> pool_;
  std::unique_ptr<TCPServer> server_;

 private:
  void make_pool(LoopFactory make_loop) {
    LoopPoolOptions options;
    options.threads = kLoops;
    options.name = "pool";
    options.backend = std::get<Backend>(GetParam());
    options.make_loop = std::move(make_loop);
    absl::StatusOr<std::unique_ptr<LoopPool>> pool = LoopPool::create(std::move(options));
    EXPECT_TRUE(pool.ok()) << pool.status();
    pool_ = *std::move(pool);
  }
};

// The ways to accept follow the suite.
#define GYRE_FOR_EACH_SERVER_THAT(suite, ...)                                                     \
  INSTANTIATE_TEST_SUITE_P(                                                                       \
      Servers, suite,                                                                             \
      ::testing::Combine(::testing::ValuesIn(::gyre::testing::all_backends()),                    \
                         ::testing::Values(__VA_ARGS__)),                                         \
      [](const ::testing::TestParamInfo<std::tuple<::gyre::Backend, ::gyre::AcceptMode>>& info) { \
        return std::string(::gyre::to_string(std::get<0>(info.param))) + "_" +                    \
               ::gyre::testing::name_of(std::get<1>(info.param));                                 \
      })

#define GYRE_FOR_EACH_SERVER(suite)                                                          \
  GYRE_FOR_EACH_SERVER_THAT(suite, ::gyre::AcceptMode::kThread, ::gyre::AcceptMode::kShared, \
                            ::gyre::AcceptMode::kReusePort)

// Where one thread deals the connections out.
#define GYRE_FOR_EACH_SERVER_BY_ACCEPTOR(suite) \
  GYRE_FOR_EACH_SERVER_THAT(suite, ::gyre::AcceptMode::kThread)

}  // namespace gyre::testing

#endif  // GYRE_TESTS_NET_TCP_SERVER_FIXTURE_H_
