// What accept(2) may answer: each error of its manual page is put in front of the real call.

#include <sys/socket.h>

#include <cerrno>
#include <chrono>
#include <deque>
#include <memory>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "gyre/net/acceptor.h"
#include "gyre/testing/manual_clock.h"
#include "gyre/tests/net/stream_fixture.h"
#include "gyre/tests/support/loop_fixture.h"

namespace {

// The errors of the next calls; 0: the real call.
std::deque<int>& script() {
  static auto* errors = new std::deque<int>;
  return *errors;
}

}  // namespace

extern "C" {
int __real_accept4(int fd, sockaddr* address, socklen_t* length, int flags);
int __wrap_accept4(int fd, sockaddr* address, socklen_t* length, int flags) {
  if (!script().empty()) {
    const int error = script().front();
    script().pop_front();
    if (error != 0) {
      errno = error;
      return -1;
    }
  }
  return __real_accept4(fd, address, length, flags);
}
}

namespace gyre::testing {
namespace {

using internal::AcceptedConnection;
using std::chrono::milliseconds;

class AcceptErrors : public StreamTest {
 protected:
  AcceptErrors() {
    IOLoopOptions options;
    options.clock = &clock_;
    options.name = "unlucky";
    options.time_slice = std::chrono::hours(1);
    loop_ = make_loop(std::move(options));
    absl::StatusOr<ListenSocket> socket =
        ListenSocket::bind(SocketAddress::parse("127.0.0.1", 0).value());
    address_ = socket->address();
    Acceptor::Options acceptor;
    acceptor.counters = counters_;
    acceptor_ = Acceptor::create(
                    *loop_, std::make_shared<ListenSocket>(*std::move(socket)),
                    [this](std::vector<AcceptedConnection>& batch) {
                      for (AcceptedConnection& connection : batch)
                        accepted_.push_back(std::move(connection));
                    },
                    std::move(acceptor))
                    .value();
  }
  ~AcceptErrors() override {
    script().clear();
    acceptor_.reset();
  }

  void connect(int count) {
    for (int i = 0; i < count; ++i) {
      UniqueFd fd(::socket(AF_INET, SOCK_STREAM, 0));
      EXPECT_EQ(::connect(fd.get(), address_.data(), address_.size()), 0);
      clients_.push_back(std::move(fd));
    }
  }

  ManualClock clock_;
  SocketAddress address_;
  std::shared_ptr<internal::AcceptCounters> counters_ =
      std::make_shared<internal::AcceptCounters>();
  std::unique_ptr<Acceptor> acceptor_;
  std::vector<UniqueFd> clients_;
  std::vector<AcceptedConnection> accepted_;
};
GYRE_FOR_EACH_BACKEND(AcceptErrors);

TEST_P(AcceptErrors, OfOneConnectionDoNotStopTheNext) {
  const std::vector<int> errors = {ECONNABORTED, EPROTO,       EPERM,      ENETDOWN,  ENOPROTOOPT,
                                   EHOSTDOWN,    EHOSTUNREACH, EOPNOTSUPP, ETIMEDOUT, ENETUNREACH};
  script().assign(errors.begin(), errors.end());
  connect(2);
  run_until([&] { return accepted_.size() == 2; });
  EXPECT_EQ(counters_->transient.get(), errors.size());
  EXPECT_EQ(counters_->back_offs.get(), 0u);
}

TEST_P(AcceptErrors, AnInterruptionIsTriedAgain) {
  script() = {EINTR, EINTR};
  connect(1);
  run_until([&] { return accepted_.size() == 1; });
  EXPECT_EQ(counters_->transient.get(), 0u);
}

TEST_P(AcceptErrors, OfTheMachineShedABatchAndBackOff) {
  log_.allow("accepting on " + address_.to_string());
  for (const int error : {EMFILE, ENFILE, ENOBUFS, ENOMEM}) {
    script() = {error};
    const uint64_t before = counters_->back_offs.get(), shed = counters_->shed.get();
    clients_.clear();
    connect(3);
    run_until([&] { return counters_->back_offs.get() == before + 1; });
    EXPECT_EQ(counters_->shed.get(), shed + 3);
    for (const UniqueFd& client : clients_) EXPECT_TRUE(at_end(client.get()));
    EXPECT_TRUE(accepted_.empty());
    clock_.advance(std::chrono::seconds(1));
    run_turns(2);
  }
  EXPECT_EQ(counters_->spares_lost.get(), 0u);
  connect(1);
  run_until([&] { return accepted_.size() == 1; });
}

// Between the close of the spare fd and the accept another thread opens a file.
TEST_P(AcceptErrors, WhereAnotherThreadTakesTheSpareItBacksOffAtOnceAndComesBack) {
  log_.allow("accepting on " + address_.to_string());
  script() = {EMFILE, EMFILE};
  connect(2);
  run_until([&] { return counters_->back_offs.get() == 1; });
  EXPECT_EQ(counters_->spares_lost.get(), 1u);
  EXPECT_EQ(counters_->shed.get(), 0u);
  const uint64_t events = loop_->metrics().events;
  run_turns(20);
  EXPECT_EQ(loop_->metrics().events, events);
  clock_.advance(milliseconds(10));
  run_until([&] { return accepted_.size() == 2; });
}

TEST_P(AcceptErrors, AfterASuccessTheDelayIsShortAgain) {
  log_.allow("accepting on " + address_.to_string());
  const auto fail = [&] { script() = {EMFILE, EMFILE}; };
  connect(1);
  uint64_t back_offs = 0;
  for (const int delay : {10, 20, 40}) {
    fail();
    run_until([&] { return counters_->back_offs.get() == back_offs + 1; });
    ++back_offs;
    fail();
    clock_.advance(milliseconds(delay));
  }
  script().clear();
  run_until([&] { return accepted_.size() == 1; });
  fail();
  connect(1);
  run_until([&] { return counters_->back_offs.get() == back_offs + 1; });
  clock_.advance(milliseconds(10));
  run_until([&] { return accepted_.size() == 2; });
}

TEST_P(AcceptErrors, OfAListenerThatIsGoneAreLoggedAndDoNotSpin) {
  log_.expect(LogLevel::kWarning, "accepting on " + address_.to_string());
  script() = {EINVAL};
  connect(1);
  run_until([&] { return counters_->back_offs.get() == 1; });
  EXPECT_EQ(counters_->shed.get(), 0u) << "nobody is shed for it";
  clock_.advance(milliseconds(10));
  run_until([&] { return accepted_.size() == 1; });
}

}  // namespace
}  // namespace gyre::testing
