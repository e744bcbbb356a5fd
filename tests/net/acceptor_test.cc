// The acceptor, on every backend.

#include "gyre/net/acceptor.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
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
#include "gyre/tests/net/acceptor_fixture.h"
#include "gyre/tests/support/loop_fixture.h"
#include "gyre/tests/support/sockets.h"

namespace gyre::testing {
namespace {

using internal::AcceptedConnection;
using std::chrono::milliseconds;
using ::testing::Each;
using ::testing::Le;

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

}  // namespace
}  // namespace gyre::testing
