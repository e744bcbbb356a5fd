// Happy eyeballs in virtual time, with attempts that do what the test says. Pure: no socket.

#include "gyre/net/connect_race.h"

#include <algorithm>
#include <chrono>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace gyre::testing {
namespace {

using absl::StatusCode;
using internal::ConnectRace;
using internal::interleave_families;
using std::chrono::milliseconds;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Action = ConnectRace::Action;

// What becomes of an attempt, so long after it began; at once where `after` is 0.
struct Fate {
  enum Kind { kConnects, kRefused, kNothing } kind;
  milliseconds after{0};
};
Fate connects(int after = 0) { return {Fate::kConnects, milliseconds(after)}; }
Fate refused(int after = 0) { return {Fate::kRefused, milliseconds(after)}; }
Fate nothing() { return {Fate::kNothing, milliseconds(0)}; }

// A race and its attempts, each of which has a "socket" from its start until it ends: what the race
// forgets to give up is left open.
class Simulation {
 public:
  explicit Simulation(std::vector<Fate> fates,
                      internal::ConnectRaceLimits limits = default_limits())
      : fates_(std::move(fates)), race_("connecting", names(fates_.size()), limits, kStart) {}

  static internal::ConnectRaceLimits default_limits() {
    return {.attempt_delay = milliseconds(250),
            .attempt_timeout = std::nullopt,
            .timeout = std::nullopt};
  }

  // Runs until the race is over, or nothing will ever happen.
  void run() {
    advance();
    while (!over_) {
      std::optional<SteadyTime> next = race_.deadline();
      for (const auto& [attempt, when] : events_) {
        if (!next.has_value() || when < *next) next = when;
      }
      if (!next.has_value()) return;
      now_ = std::max(now_, *next);
      deliver();
      advance();
    }
  }
  void run_until(milliseconds time) {
    end_ = kStart + time;
    advance();
    while (!over_) {
      SteadyTime next = end_;
      if (race_.deadline().has_value()) next = std::min(next, *race_.deadline());
      for (const auto& [attempt, when] : events_) next = std::min(next, when);
      now_ = std::max(now_, next);
      deliver();
      advance();
      if (now_ >= end_) return;
    }
  }

  ConnectRace& race() { return race_; }
  void advance() {
    while (const std::optional<Action> action = race_.next(now_)) act(*action);
  }

  bool over() const { return over_; }
  std::optional<size_t> winner() const { return winner_; }
  milliseconds elapsed() const { return std::chrono::duration_cast<milliseconds>(now_ - kStart); }
  const std::vector<int>& starts() const { return starts_; }  // in ms
  const std::vector<size_t>& stopped() const { return stopped_; }
  size_t open_sockets() const { return open_.size(); }
  const absl::Status& outcome() const { return race_.outcome(); }

 private:
  static std::vector<std::string> names(size_t count) {
    std::vector<std::string> names;
    for (size_t i = 0; i < count; ++i) names.push_back("address" + std::to_string(i));
    return names;
  }

  void act(const Action& action) {
    EXPECT_FALSE(over_) << "an action after the last one";
    switch (action.kind) {
      case Action::kStart:
        starts_.push_back(static_cast<int>(elapsed().count()));
        open_.insert({action.attempt, true});
        begin(action.attempt);
        break;
      case Action::kStop:
        stopped_.push_back(action.attempt);
        EXPECT_EQ(open_.erase(action.attempt), 1u) << "stopped and not running";
        std::erase_if(events_, [&](const auto& event) { return event.first == action.attempt; });
        break;
      case Action::kWon:
        EXPECT_EQ(open_.erase(action.attempt), 1u);
        winner_ = action.attempt;
        over_ = true;
        break;
      case Action::kLost:
        over_ = true;
        break;
    }
  }
  void begin(size_t attempt) {
    const Fate& fate = fates_[attempt];
    if (fate.kind == Fate::kNothing) return;
    if (fate.after == milliseconds(0)) return end(attempt);
    events_.push_back({attempt, now_ + fate.after});
  }
  void end(size_t attempt) {
    if (fates_[attempt].kind == Fate::kConnects) return race_.succeeded(attempt);
    open_.erase(attempt);
    race_.failed(attempt, absl::UnavailableError("refused"));
  }
  void deliver() {
    for (size_t i = 0; i < events_.size();) {
      if (events_[i].second > now_) {
        ++i;
        continue;
      }
      const size_t attempt = events_[i].first;
      events_.erase(events_.begin() + static_cast<ptrdiff_t>(i));
      end(attempt);
    }
  }

  static constexpr SteadyTime kStart{std::chrono::hours(1)};
  const std::vector<Fate> fates_;
  ConnectRace race_;
  SteadyTime now_ = kStart;
  SteadyTime end_;
  bool over_ = false;
  std::optional<size_t> winner_;
  std::vector<int> starts_;
  std::vector<size_t> stopped_;
  std::map<size_t, bool> open_;
  std::vector<std::pair<size_t, SteadyTime>> events_;
};

internal::ConnectRaceLimits with_timeout(int timeout) {
  internal::ConnectRaceLimits limits = Simulation::default_limits();
  limits.timeout = milliseconds(timeout);
  return limits;
}
internal::ConnectRaceLimits with_attempt_timeout(int timeout) {
  internal::ConnectRaceLimits limits = Simulation::default_limits();
  limits.attempt_timeout = milliseconds(timeout);
  return limits;
}

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
