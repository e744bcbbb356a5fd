// Happy eyeballs in virtual time, with attempts that do what the test says. Pure: no socket.

#include "gyre/net/connect_race.h"

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "gyre/tests/net/connect_race_simulation.h"

namespace gyre::testing {
namespace {

using absl::StatusCode;
using internal::ConnectRace;
using internal::interleave_families;
using std::chrono::milliseconds;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Action = ConnectRace::Action;

// ---- The cases of Tornado's ConnectorTest, with the delays of RFC 8305

TEST(ConnectRace, ImmediateSuccess) {
  Simulation simulation({connects()});
  simulation.run();
  EXPECT_EQ(simulation.winner(), 0u);
  EXPECT_EQ(simulation.elapsed(), milliseconds(0));
  EXPECT_EQ(simulation.open_sockets(), 0u);
}

TEST(ConnectRace, ImmediateFailure) {
  Simulation simulation({refused()});
  simulation.run();
  EXPECT_TRUE(simulation.over());
  EXPECT_EQ(simulation.winner(), std::nullopt);
  EXPECT_EQ(simulation.outcome().code(), StatusCode::kUnavailable);
}

TEST(ConnectRace, TheSecondAddressIsTriedOnceTheFirstHasFailed) {
  Simulation simulation({refused(10), connects(5)});
  simulation.run();
  EXPECT_EQ(simulation.winner(), 1u);
  EXPECT_THAT(simulation.starts(), ElementsAre(0, 10));
}

TEST(ConnectRace, TheSecondAddressMayFailToo) {
  Simulation simulation({refused(10), refused(10)});
  simulation.run();
  EXPECT_EQ(simulation.winner(), std::nullopt);
  EXPECT_EQ(simulation.elapsed(), milliseconds(20));
  EXPECT_THAT(std::string(simulation.outcome().message()),
              HasSubstr("address0: refused; address1"));
}

TEST(ConnectRace, TheSecondAddressHasItsTurnThoughTheFirstOneNeverAnswers) {
  Simulation simulation({nothing(), connects(5)});
  simulation.run();
  EXPECT_EQ(simulation.winner(), 1u);
  EXPECT_THAT(simulation.starts(), ElementsAre(0, 250));
  EXPECT_THAT(simulation.stopped(), ElementsAre(0u));
  EXPECT_EQ(simulation.open_sockets(), 0u);
}

TEST(ConnectRace, OfTwoFamiliesTheFirstThatAnswersInTimeIsAlone) {
  Simulation simulation({connects(249), connects()});
  simulation.run();
  EXPECT_EQ(simulation.winner(), 0u);
  EXPECT_THAT(simulation.starts(), ElementsAre(0));
}

TEST(ConnectRace, OfTwoFamiliesTheQuickerOneWins) {
  Simulation simulation({connects(1000), connects(10)});
  simulation.run();
  EXPECT_EQ(simulation.winner(), 1u);
  EXPECT_EQ(simulation.elapsed(), milliseconds(260));
  EXPECT_THAT(simulation.stopped(), ElementsAre(0u));
  EXPECT_EQ(simulation.open_sockets(), 0u);
}

TEST(ConnectRace, TheFirstMayStillWinAfterTheSecondHasBegun) {
  Simulation simulation({connects(300), connects(1000)});
  simulation.run();
  EXPECT_EQ(simulation.winner(), 0u);
  EXPECT_THAT(simulation.stopped(), ElementsAre(1u));
  EXPECT_EQ(simulation.open_sockets(), 0u);
}

TEST(ConnectRace, AllFail) {
  Simulation simulation({refused(), refused(10), refused(), refused(10)});
  simulation.run();
  EXPECT_EQ(simulation.winner(), std::nullopt);
  EXPECT_EQ(simulation.starts().size(), 4u);
  EXPECT_EQ(simulation.open_sockets(), 0u);
}

TEST(ConnectRace, TheTimeOfAllEndsItWhileTheFirstIsWaitedFor) {
  Simulation simulation({nothing()}, with_timeout(100));
  simulation.run();
  EXPECT_EQ(simulation.outcome().code(), StatusCode::kDeadlineExceeded);
  EXPECT_EQ(simulation.elapsed(), milliseconds(100));
  EXPECT_THAT(simulation.stopped(), ElementsAre(0u));
  EXPECT_EQ(simulation.open_sockets(), 0u);
}

TEST(ConnectRace, SuccessBeforeTheTimeOfAllIsOver) {
  Simulation simulation({connects(99)}, with_timeout(100));
  simulation.run();
  EXPECT_EQ(simulation.winner(), 0u);
}

TEST(ConnectRace, TheSecondAddressIsWithinTheTimeOfAll) {
  Simulation simulation({refused(50), connects(40)}, with_timeout(100));
  simulation.run();
  EXPECT_EQ(simulation.winner(), 1u);
}

TEST(ConnectRace, AFailureJustBeforeTheTimeOfAllIsOverLeavesTheSecondTheRest) {
  Simulation simulation({refused(90), connects(20)}, with_timeout(100));
  simulation.run();
  EXPECT_EQ(simulation.outcome().code(), StatusCode::kDeadlineExceeded);
  EXPECT_THAT(std::string(simulation.outcome().message()),
              HasSubstr("address0: refused; address1: no answer yet"));
}

TEST(ConnectRace, TheTimeOfAllEndsItBeforeTheSecondFamilyHasItsTurn) {
  Simulation simulation({nothing(), connects()}, with_timeout(100));
  simulation.run();
  EXPECT_EQ(simulation.outcome().code(), StatusCode::kDeadlineExceeded);
  EXPECT_THAT(simulation.starts(), ElementsAre(0));
}

// F131: whoever succeeds after it is over changes nothing, and is closed by kStop before.
TEST(ConnectRace, ASuccessAfterTheTimeIsOverIsNone) {
  Simulation simulation({connects(200), nothing()}, with_timeout(100));
  simulation.run();
  simulation.race().succeeded(0);
  simulation.advance();
  EXPECT_EQ(simulation.winner(), std::nullopt);
  EXPECT_EQ(simulation.open_sockets(), 0u);
}

TEST(ConnectRace, TheTimeOfAllEndsItWhileBothFamiliesAreWaitedFor) {
  Simulation simulation({nothing(), nothing()}, with_timeout(400));
  simulation.run();
  EXPECT_EQ(simulation.outcome().code(), StatusCode::kDeadlineExceeded);
  EXPECT_THAT(simulation.starts(), ElementsAre(0, 250));
  EXPECT_THAT(simulation.stopped(), ElementsAre(0u, 1u));
  EXPECT_EQ(simulation.open_sockets(), 0u);
}

// ---- The rest

TEST(ConnectRace, TwoThatSucceedAtTheSameTimeMakeOneWinner) {
  Simulation simulation({connects(300), connects(50), nothing()});
  simulation.run();
  EXPECT_EQ(simulation.winner(), 0u);
  EXPECT_THAT(simulation.stopped(), ElementsAre(1u));
  EXPECT_EQ(simulation.open_sockets(), 0u);
}

TEST(ConnectRace, AnEarlierAttemptThatFailsDoesNotHurryTheNextOne) {
  Simulation simulation({refused(260), nothing(), connects()});
  simulation.run();
  EXPECT_THAT(simulation.starts(), ElementsAre(0, 250, 500));
}

TEST(ConnectRace, TheLastOfThoseThatRunHurriesTheNextOne) {
  Simulation simulation({refused(300), refused(20), connects()});
  simulation.run();
  EXPECT_THAT(simulation.starts(), ElementsAre(0, 250, 270));
}

TEST(ConnectRace, AnAttemptThatTakesTooLongIsGivenUpAndTheNextOneStarts) {
  Simulation simulation({nothing(), connects(10)}, with_attempt_timeout(100));
  simulation.run();
  EXPECT_EQ(simulation.winner(), 1u);
  EXPECT_THAT(simulation.starts(), ElementsAre(0, 100));
  EXPECT_THAT(simulation.stopped(), ElementsAre(0u));
  EXPECT_EQ(simulation.open_sockets(), 0u);
}

TEST(ConnectRace, AllAttemptsTakingTooLongIsDeadlineExceeded) {
  Simulation simulation({nothing(), nothing()}, with_attempt_timeout(100));
  simulation.run();
  EXPECT_EQ(simulation.outcome().code(), StatusCode::kDeadlineExceeded);
  EXPECT_EQ(simulation.elapsed(), milliseconds(200));
  EXPECT_EQ(simulation.open_sockets(), 0u);
}

TEST(ConnectRace, AttemptsThatFailDifferentlyAreUnavailable) {
  ConnectRace race("connecting", {"a", "b"}, Simulation::default_limits(), SteadyTime());
  EXPECT_EQ(race.next(SteadyTime())->kind, Action::kStart);
  race.failed(0, absl::PermissionDeniedError("not allowed"));
  EXPECT_EQ(race.next(SteadyTime())->kind, Action::kStart);
  race.failed(1, absl::NotFoundError("not there"));
  EXPECT_EQ(race.next(SteadyTime())->kind, Action::kLost);
  EXPECT_EQ(race.outcome(), absl::UnavailableError("connecting: a: not allowed; b: not there"));
}

TEST(ConnectRace, NoAddressIsNotFound) {
  Simulation simulation({});
  simulation.run();
  EXPECT_EQ(simulation.outcome().code(), StatusCode::kNotFound);
}

TEST(ConnectRace, GivenUpItStopsWhatRunsAndSaysWhy) {
  Simulation simulation({nothing(), nothing(), connects()});
  simulation.run_until(milliseconds(300));
  simulation.race().give_up(absl::CancelledError("cancelled"));
  simulation.advance();
  EXPECT_EQ(simulation.outcome().code(), StatusCode::kCancelled);
  EXPECT_THAT(simulation.stopped(), ElementsAre(0u, 1u));
  EXPECT_EQ(simulation.open_sockets(), 0u);
  EXPECT_EQ(simulation.race().deadline(), std::nullopt);
}

TEST(ConnectRace, ResultsOfAttemptsThatDoNotRunChangeNothing) {
  ConnectRace race("connecting", {"a", "b"}, Simulation::default_limits(), SteadyTime());
  race.succeeded(1);
  race.failed(0, absl::UnavailableError("not begun"));
  EXPECT_EQ(race.next(SteadyTime())->kind, Action::kStart);
  race.failed(0, absl::UnavailableError("refused"));
  race.succeeded(0);
  EXPECT_EQ(race.next(SteadyTime())->kind, Action::kStart);
  EXPECT_EQ(race.next(SteadyTime()), std::nullopt);
}

// Every combination of what three attempts may do: one result, and nothing is left open.
TEST(ConnectRace, WhateverHappensThereIsOneResultAndNoSocketIsLeft) {
  const std::vector<Fate> kFates{connects(),    connects(100), connects(250),
                                 connects(600), refused(),     refused(100),
                                 refused(250),  refused(600),  nothing()};
  for (const Fate& first : kFates) {
    for (const Fate& second : kFates) {
      for (const Fate& third : kFates) {
        internal::ConnectRaceLimits limits = with_timeout(700);
        limits.attempt_timeout = milliseconds(500);
        Simulation simulation({first, second, third}, limits);
        simulation.run();
        ASSERT_TRUE(simulation.over());
        ASSERT_EQ(simulation.open_sockets(), 0u);
        ASSERT_NE(simulation.winner().has_value(), !simulation.outcome().ok());
        ASSERT_LE(simulation.elapsed(), milliseconds(700));
      }
    }
  }
}

// ---- The order

TEST(InterleaveFamilies, TheFamiliesTakeTurnsAndKeepTheirOrder) {
  const auto of = [](std::vector<std::string> hosts) {
    std::vector<SocketAddress> addresses;
    for (const std::string& host : hosts) addresses.push_back(*SocketAddress::parse(host, 1));
    std::vector<std::string> result;
    for (const SocketAddress& address : interleave_families(addresses)) {
      result.push_back(address.host());
    }
    return result;
  };
  EXPECT_THAT(of({}), ElementsAre());
  EXPECT_THAT(of({"::1", "::2", "1.1.1.1", "2.2.2.2"}),
              ElementsAre("::1", "1.1.1.1", "::2", "2.2.2.2"));
  EXPECT_THAT(of({"1.1.1.1", "2.2.2.2", "3.3.3.3", "::1"}),
              ElementsAre("1.1.1.1", "::1", "2.2.2.2", "3.3.3.3"));
  EXPECT_THAT(of({"::1", "::2"}), ElementsAre("::1", "::2"));
}

}  // namespace
}  // namespace gyre::testing
