// The acceptor, on every backend.

#include "gyre/net/acceptor.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <ctime>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "gyre/loop/io_loop.h"
#include "gyre/net/listen_socket.h"
#include "gyre/net/socket_address.h"
#include "gyre/testing/manual_clock.h"
#include "gyre/tests/net/stream_fixture.h"
#include "gyre/tests/support/loop_fixture.h"
#include "gyre/tests/support/sockets.h"

namespace gyre::testing {
namespace {

using internal::AcceptedConnection;
using std::chrono::milliseconds;
using ::testing::Each;
using ::testing::Le;

class AcceptorTest : public StreamTest {
 protected:
  AcceptorTest() : socket_(ListenSocket::bind(SocketAddress::parse("127.0.0.1", 0).value())) {
    EXPECT_TRUE(socket_.ok()) << socket_.status();
    address_ = socket_->address();
  }

  std::unique_ptr<Acceptor> accept_with(Acceptor::Sink sink) {
    absl::StatusOr<std::unique_ptr<Acceptor>> acceptor =
        Acceptor::create(*loop_, *std::move(socket_), std::move(sink));
    EXPECT_TRUE(acceptor.ok()) << acceptor.status();
    return acceptor.ok() ? *std::move(acceptor) : nullptr;
  }
  // Keeps the connections, and how many came together.
  std::unique_ptr<Acceptor> accept_and_keep() { return accept_with(keeping_sink()); }
  Acceptor::Sink keeping_sink() {
    return [this](std::vector<AcceptedConnection>& connections) {
      batches_.push_back(connections.size());
      for (AcceptedConnection& connection : connections) {
        accepted_.push_back(std::move(connection.fd));
        places_.push_back(std::move(connection.place));
      }
    };
  }
  std::unique_ptr<Acceptor> accept_and_keep(Acceptor::Options options) {
    options.counters = counters_;
    absl::StatusOr<std::unique_ptr<Acceptor>> acceptor =
        Acceptor::create(*loop_, std::make_shared<ListenSocket>(*std::move(socket_)),
                         keeping_sink(), std::move(options));
    EXPECT_TRUE(acceptor.ok()) << acceptor.status();
    return acceptor.ok() ? *std::move(acceptor) : nullptr;
  }

  // Connected by the kernel, whether or not somebody accepts.
  void connect(int count = 1) {
    for (int i = 0; i < count; ++i) {
      UniqueFd fd(::socket(AF_INET, SOCK_STREAM, 0));
      EXPECT_EQ(::connect(fd.get(), address_.data(), address_.size()), 0);
      clients_.push_back(std::move(fd));
    }
  }
  void run_until_accepted(size_t count) {
    run_until([&] { return accepted_.size() >= count; });
    EXPECT_EQ(accepted_.size(), count);
  }
  bool can_connect() const {
    const UniqueFd fd(::socket(AF_INET, SOCK_STREAM, 0));
    return ::connect(fd.get(), address_.data(), address_.size()) == 0;
  }

  absl::StatusOr<ListenSocket> socket_;
  SocketAddress address_;
  std::vector<UniqueFd> clients_;
  std::vector<UniqueFd> accepted_;
  std::vector<internal::Place> places_;
  std::vector<size_t> batches_;
  std::shared_ptr<internal::AcceptCounters> counters_ =
      std::make_shared<internal::AcceptCounters>();
};
GYRE_FOR_EACH_BACKEND(AcceptorTest);

TEST_P(AcceptorTest, HandsOverEachConnectionOnce) {
  const std::unique_ptr<Acceptor> acceptor = accept_and_keep();
  run_turns(2);
  EXPECT_TRUE(accepted_.empty());
  connect(3);
  run_until_accepted(3);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(SocketAddress::peer_of(accepted_[i].get()).value(),
              SocketAddress::local_of(clients_[i].get()).value())
        << "in order of arrival";
  }
}

TEST_P(AcceptorTest, TakesConnectionsThatCameBeforeIt) {
  connect(2);
  const std::unique_ptr<Acceptor> acceptor = accept_and_keep();
  run_until_accepted(2);
}

TEST_P(AcceptorTest, ItsConnectionsAreNonBlockingAndClosedOnExec) {
  const std::unique_ptr<Acceptor> acceptor = accept_and_keep();
  connect();
  run_until_accepted(1);
  EXPECT_NE(::fcntl(accepted_[0].get(), F_GETFL) & O_NONBLOCK, 0);
  EXPECT_NE(::fcntl(accepted_[0].get(), F_GETFD) & FD_CLOEXEC, 0);
}

// A burst must not own the loop.
TEST_P(AcceptorTest, ABurstComesInBatchesBetweenWhichOthersHaveTheirTurn) {
  constexpr size_t kMax = Acceptor::kMaxBatch;
  connect(2 * kMax + 2);
  const std::unique_ptr<Acceptor> acceptor = accept_and_keep();
  size_t before = 0;
  run_until([&] {
    EXPECT_LE(accepted_.size() - std::exchange(before, accepted_.size()), kMax) << "in one turn";
    return accepted_.size() == 2 * kMax + 2;
  });
  EXPECT_THAT(batches_, Each(Le(kMax)));
}

TEST_P(AcceptorTest, ClosesWhatTheSinkLeaves) {
  size_t seen = 0;
  const std::unique_ptr<Acceptor> acceptor =
      accept_with([&](std::vector<AcceptedConnection>& batch) { seen += batch.size(); });
  const int fds = count_open_fds();
  connect(3);
  run_until([&] { return seen == 3; });
  EXPECT_EQ(count_open_fds(), fds + 3) << "the clients' alone";
}

TEST_P(AcceptorTest, ASinkThatThrowsLosesItsBatchAndGetsTheNext) {
  log_.expect(LogLevel::kError, "from the sink");
  size_t seen = 0;
  const std::unique_ptr<Acceptor> acceptor =
      accept_with([&](std::vector<AcceptedConnection>& batch) {
        if (seen == 0) {
          seen = batch.size();
          throw std::runtime_error("from the sink");
        }
        seen += batch.size();
      });
  const int fds = count_open_fds();
  connect(1);
  run_until([&] { return seen == 1; });
  connect(2);
  run_until([&] { return seen == 3; });
  EXPECT_EQ(count_open_fds(), fds + 3) << "the clients' alone";
}

// Some kernels hand it over, and some skip it.
TEST_P(AcceptorTest, AConnectionThatWasResetBeforeItIsAcceptedDoesNotStopTheOthers) {
  const std::unique_ptr<Acceptor> acceptor = accept_and_keep();
  connect(1);
  reset_connection(std::move(clients_[0]));
  connect(2);
  run_until([&] {
    for (const UniqueFd& connection : accepted_) {
      const absl::StatusOr<SocketAddress> peer = SocketAddress::peer_of(connection.get());
      if (peer.ok() && *peer == SocketAddress::local_of(clients_[2].get()).value()) return true;
    }
    return false;
  });
}

// ---- The end

TEST_P(AcceptorTest, DestroyedItRefusesConnectionsAndKeepsThoseThatItAccepted) {
  std::unique_ptr<Acceptor> acceptor = accept_and_keep();
  connect();
  run_until_accepted(1);
  acceptor.reset();
  EXPECT_FALSE(can_connect());
  run_turns(2);
  write_all(accepted_[0].get(), "still there");
  char bytes[11];
  EXPECT_EQ(::recv(clients_[0].get(), bytes, sizeof(bytes), MSG_WAITALL), 11);
}

// Its event was fetched together with that of who destroys it.
TEST_P(AcceptorTest, DestroyedInAnotherHandlerItAcceptsNothingMore) {
  std::unique_ptr<Acceptor> acceptor = accept_and_keep();
  connect(3);
  std::vector<FdPair> pairs;
  for (int i = 0; i < 2; ++i) {  // whichever comes first
    pairs.push_back(pipe_pair());
    write_all(pairs[i].b.get(), "x");
    ASSERT_TRUE(loop_
                    ->add_handler(
                        pairs[i].a.get(), [&](int, uint32_t) { acceptor.reset(); }, IOLoop::READ)
                    .ok());
  }
  run_turns(1);
  const size_t before = accepted_.size();
  run_turns(3);
  EXPECT_EQ(accepted_.size(), before);
  EXPECT_FALSE(can_connect());
}

TEST_P(AcceptorTest, MayBeMadeAgainOnTheSamePort) {
  accept_and_keep().reset();
  socket_ = ListenSocket::bind(address_);
  ASSERT_TRUE(socket_.ok()) << socket_.status();
  const std::unique_ptr<Acceptor> acceptor = accept_and_keep();
  connect();
  run_until_accepted(1);
}

TEST_P(AcceptorTest, ClosedTogetherWithTheLoopItMayBeDestroyedLater) {
  std::unique_ptr<Acceptor> acceptor = accept_and_keep();
  EXPECT_TRUE(loop_->close(/*all_fds=*/true).ok());
  EXPECT_FALSE(can_connect());
  acceptor.reset();
}

TEST_P(AcceptorTest, OnAClosedLoopIsAnErrorAndClosesTheSocket) {
  EXPECT_TRUE(loop_->close().ok());
  EXPECT_FALSE(
      Acceptor::create(*loop_, *std::move(socket_), [](std::vector<AcceptedConnection>&) {}).ok());
  EXPECT_FALSE(can_connect());
}

// ---- The last call

TEST_P(AcceptorTest, StoppedItHandsOverWhoWaitsAndRefusesOthers) {
  constexpr size_t kWaiting = 2 * Acceptor::kMaxBatch + 3;
  const std::unique_ptr<Acceptor> acceptor = accept_and_keep({});
  connect(kWaiting);
  acceptor->stop();
  EXPECT_EQ(accepted_.size(), kWaiting);
  EXPECT_EQ(counters_->accepted.get(), kWaiting);
  EXPECT_FALSE(can_connect());
  acceptor->stop();
  run_turns(2);
  EXPECT_EQ(accepted_.size(), kWaiting);
  write_all(accepted_.back().get(), "well");
  char bytes[4];
  EXPECT_EQ(::recv(clients_.back().get(), bytes, 4, MSG_WAITALL), 4) << "not reset";
}

// The queue of an adopted socket is others', too.
TEST_P(AcceptorTest, StoppedItLeavesTheCopiesOfAnAdoptedSocketAlone) {
  const UniqueFd copy(::dup(socket_->fileno()));
  socket_ = ListenSocket::adopt(UniqueFd(::dup(socket_->fileno())));
  ASSERT_TRUE(socket_.ok()) << socket_.status();
  const std::unique_ptr<Acceptor> acceptor = accept_and_keep({});
  acceptor->stop();
  EXPECT_TRUE(can_connect());
}

// ---- Limits

TEST_P(AcceptorTest, WhoIsRejectedIsClosedAndCounted) {
  Acceptor::Options options;
  int asked = 0;
  options.gate = [&](AcceptedConnection&, bool) -> internal::Verdict {
    if (++asked == 2) return {internal::Verdict::kReject, LimitKind::kSource};
    return {};
  };
  const std::unique_ptr<Acceptor> acceptor = accept_and_keep(std::move(options));
  connect(3);
  run_until_accepted(2);
  EXPECT_TRUE(at_end(clients_[1].get()));
  EXPECT_EQ(counters_->rejected[static_cast<int>(LimitKind::kSource)].get(), 1u);
  EXPECT_EQ(counters_->accepted.get(), 2u);
}

TEST_P(AcceptorTest, AtALimitWhoIsNextWaitsUntilAPlaceIsGivenBack) {
  ConnectionLimits limits;
  limits.total = 2;
  Acceptor::Options options;
  const auto admission = std::make_shared<internal::Admission>(limits, 1);
  options.admission = admission;
  options.gate = [admission](AcceptedConnection& connection, bool last_call) {
    return admission->enter(1, {}, last_call, connection.place);
  };
  const std::unique_ptr<Acceptor> acceptor = accept_and_keep(std::move(options));
  connect(5);
  run_until_accepted(2);
  const uint64_t events = loop_->metrics().events;
  run_turns(20);
  EXPECT_EQ(loop_->metrics().events, events) << "it does not spin";
  EXPECT_EQ(accepted_.size(), 2u);
  EXPECT_EQ(counters_->waits.get(), 1u);
  for (size_t next = 3; next <= 5; ++next) {
    places_[0] = {};
    places_.erase(places_.begin());
    run_until_accepted(next);
  }
  connect(1);
  run_turns(3);
  acceptor->stop();
  EXPECT_EQ(accepted_.size(), 5u);
  EXPECT_EQ(counters_->rejected[static_cast<int>(LimitKind::kTotal)].get(), 1u)
      << "who still waits at the end is told so";
}

TEST_P(AcceptorTest, AtARateLimitItGoesOnByTheClock) {
  Acceptor::Options options;
  int asked = 0;
  options.gate = [&](AcceptedConnection&, bool) -> internal::Verdict {
    if (++asked % 2 == 1) return {internal::Verdict::kWait, LimitKind::kRate, milliseconds(1)};
    return {};
  };
  const std::unique_ptr<Acceptor> acceptor = accept_and_keep(std::move(options));
  connect(3);
  for (uint64_t accepted = 0; accepted < 3; ++accepted) {
    run_until([&] { return counters_->waits.get() == accepted + 1; });
    run_turns(3);
    EXPECT_EQ(accepted_.size(), accepted) << "before its time";
    virtual_time_.clock.advance(milliseconds(1));
    run_until_accepted(accepted + 1);
  }
  EXPECT_EQ(counters_->waits.get(), 3u);
}

// ---- No fd is left

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
