// The acceptor when the process has no fd left, on every backend.

#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <ctime>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "gyre/loop/io_loop.h"
#include "gyre/net/acceptor.h"
#include "gyre/net/socket_address.h"
#include "gyre/testing/manual_clock.h"
#include "gyre/tests/net/acceptor_fixture.h"
#include "gyre/tests/support/loop_fixture.h"
#include "gyre/tests/support/sockets.h"

namespace gyre::testing {
namespace {

using std::chrono::milliseconds;

class AcceptorWithoutFds : public AcceptorTest {
 protected:
  AcceptorWithoutFds() {
    IOLoopOptions options;
    options.clock = &clock_;
    options.name = "frugal";
    options.time_slice = std::chrono::hours(1);
    loop_ = make_loop(std::move(options));
    ::getrlimit(RLIMIT_NOFILE, &limit_);
  }
  ~AcceptorWithoutFds() override { allow_fds(); }

  // Not one more than there are.
  void allow_no_fds() {
    rlimit none = limit_;
    // The lowest number that is free: every fd from there on is refused (RLIMIT_NOFILE of
    // getrlimit(2)).
    none.rlim_cur = closed_fd();
    EXPECT_EQ(::setrlimit(RLIMIT_NOFILE, &none), 0);
  }
  static Acceptor::Options options_with(std::shared_ptr<internal::PlaceSignal> freed) {
    Acceptor::Options options;
    options.freed = std::move(freed);
    return options;
  }
  void allow_fds() { ::setrlimit(RLIMIT_NOFILE, &limit_); }

  // The acceptor has tried, and waits.
  void run_until_it_gave_up() {
    run_until([&] { return log_.count("accepting on " + address_.to_string()) > 0; });
    EXPECT_TRUE(accepted_.empty());
  }

  ManualClock clock_;
  rlimit limit_{};
};
GYRE_FOR_EACH_BACKEND(AcceptorWithoutFds);

// Those who wait see a close, and not a silence.
TEST_P(AcceptorWithoutFds, ShedsABatchSaysSoOnceAndDoesNotSpin) {
  log_.expect(LogLevel::kWarning, "accepting on " + address_.to_string());
  const std::unique_ptr<Acceptor> acceptor = accept_and_keep({});
  connect(3);
  allow_no_fds();
  run_until_it_gave_up();
  EXPECT_EQ(counters_->shed.get(), 3u);
  EXPECT_EQ(counters_->back_offs.get(), 1u);
  EXPECT_EQ(counters_->spares_lost.get(), 0u);
  for (const UniqueFd& client : clients_) EXPECT_TRUE(at_end(client.get()));
  const uint64_t events = loop_->metrics().events;
  run_turns(100);
  EXPECT_EQ(loop_->metrics().events, events) << "the socket is looked at, although nothing helps";
}

TEST_P(AcceptorWithoutFds, ShedsNoMoreThanABatchAtATime) {
  log_.expect(LogLevel::kWarning, "accepting on " + address_.to_string());
  const std::unique_ptr<Acceptor> acceptor = accept_and_keep({});
  connect(Acceptor::kMaxBatch + 5);
  allow_no_fds();
  run_until_it_gave_up();
  EXPECT_EQ(counters_->shed.get(), Acceptor::kMaxBatch);
}

TEST_P(AcceptorWithoutFds, AcceptsWhoComesOnceThereAreSomeAgain) {
  log_.expect(LogLevel::kWarning, "accepting on " + address_.to_string());
  const std::unique_ptr<Acceptor> acceptor = accept_and_keep();
  connect(1);
  allow_no_fds();
  run_until_it_gave_up();
  allow_fds();
  connect(2);
  run_turns(2);
  EXPECT_TRUE(accepted_.empty()) << "not before the delay";
  clock_.advance(milliseconds(10));
  run_until_accepted(2);
  connect(1);
  run_until_accepted(3);
}

TEST_P(AcceptorWithoutFds, AcceptsAtOnceWhenAConnectionHasEnded) {
  log_.expect(LogLevel::kWarning, "accepting on " + address_.to_string());
  const auto freed = std::make_shared<internal::PlaceSignal>();
  const std::unique_ptr<Acceptor> acceptor = accept_and_keep(options_with(freed));
  connect(1);
  allow_no_fds();
  run_until_it_gave_up();
  EXPECT_TRUE(freed->has_waiters());
  allow_fds();
  connect(1);
  freed->notify();
  run_until_accepted(1);  // the clock stands still
  EXPECT_FALSE(freed->has_waiters());
}

TEST_P(AcceptorWithoutFds, ASignalThatComesAfterItsEndIsNothing) {
  log_.expect(LogLevel::kWarning, "accepting on " + address_.to_string());
  const auto freed = std::make_shared<internal::PlaceSignal>();
  std::unique_ptr<Acceptor> acceptor = accept_and_keep(options_with(freed));
  connect(1);
  allow_no_fds();
  run_until_it_gave_up();
  freed->notify();
  acceptor.reset();
  run_turns(2);
}

TEST_P(AcceptorWithoutFds, TriesLessOftenTheLongerItLasts) {
  log_.allow("accepting on");
  const std::unique_ptr<Acceptor> acceptor = accept_and_keep();
  connect(1);
  allow_no_fds();
  run_until_it_gave_up();
  uint64_t events = loop_->metrics().events;
  for (const int delay : {10, 20, 40, 80, 160, 320, 640, 1000, 1000}) {
    allow_fds();
    connect(1);
    allow_no_fds();
    clock_.advance(milliseconds(delay - 1));
    run_turns(2);
    EXPECT_EQ(loop_->metrics().events, events) << "too early, of " << delay << " ms";
    clock_.advance(milliseconds(1));
    run_turns(2);
    EXPECT_EQ(loop_->metrics().events, ++events) << "no try after " << delay << " ms";
  }
}

// A process of its own, with fds of its own: so many clients that wait to be accepted, each of
// which comes again when it is shed.
class ClientsInAProcess {
 public:
  ClientsInAProcess(int count, const SocketAddress& address) {
    int ready[2];
    EXPECT_EQ(::pipe(ready), 0);
    pid_ = ::fork();
    if (pid_ == 0) wait_and_come_again(count, address, ready[1]);
    ::close(ready[1]);
    char byte;
    EXPECT_EQ(::read(ready[0], &byte, 1), 1) << "the clients could not connect";
    ::close(ready[0]);
  }
  ~ClientsInAProcess() {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }

 private:
  static int connected_socket(const SocketAddress& address) {
    const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || ::connect(fd, address.data(), address.size()) != 0) ::_exit(1);
    return fd;
  }
  [[noreturn]] static void wait_and_come_again(int count, const SocketAddress& address, int ready) {
    ::alarm(60);  // whatever becomes of the test
    std::vector<pollfd> clients;
    for (int i = 0; i < count; ++i) clients.push_back({connected_socket(address), POLLIN, 0});
    if (::write(ready, "r", 1) != 1) ::_exit(1);
    while (::poll(clients.data(), clients.size(), -1) > 0) {
      for (pollfd& client : clients) {
        if (client.revents == 0) continue;
        ::close(client.fd);
        client.fd = connected_socket(address);
      }
    }
    ::_exit(1);
  }

  pid_t pid_;
};

std::chrono::nanoseconds cpu_time_of_this_thread() {
  timespec time{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec);
}

// What it costs is what is asked, so in real time.
TEST_P(AcceptorWithoutFds, TakesAtMostTwoPercentOfACoreWhileAHundredClientsWait) {
  log_.allow("accepting on " + address_.to_string());
  const ClientsInAProcess clients(100, address_);
  use_time(TestTime::kReal);
  const std::unique_ptr<Acceptor> acceptor = accept_and_keep({});
  allow_no_fds();
  loop_->call_later(std::chrono::seconds(2), [&] { loop_->stop(); });
  const auto start = std::chrono::steady_clock::now();
  const std::chrono::nanoseconds cpu_before = cpu_time_of_this_thread();
  ASSERT_TRUE(loop_->start().ok());
  const std::chrono::duration<double> cpu = cpu_time_of_this_thread() - cpu_before;
  const std::chrono::duration<double> wall = std::chrono::steady_clock::now() - start;
  allow_fds();
  EXPECT_LE(cpu / wall, 0.02);
  EXPECT_GE(counters_->shed.get(), 100u) << "those who come again wait, too";
  EXPECT_TRUE(accepted_.empty());
  RecordProperty("percent_of_a_core", std::to_string(100 * (cpu / wall)));
  RecordProperty("shed", std::to_string(counters_->shed.get()));
}

TEST_P(AcceptorWithoutFds, DestroyedWhileItWaitsItTriesNoMore) {
  log_.expect(LogLevel::kWarning, "accepting on " + address_.to_string());
  std::unique_ptr<Acceptor> acceptor = accept_and_keep();
  connect(1);
  allow_no_fds();
  run_until_it_gave_up();
  acceptor.reset();
  allow_fds();
  clock_.advance(std::chrono::seconds(10));
  run_turns(2);
  EXPECT_TRUE(accepted_.empty());
  EXPECT_FALSE(can_connect());
}

}  // namespace
}  // namespace gyre::testing
