#ifndef GYRE_TESTS_NET_CONNECT_RACE_SIMULATION_H_
#define GYRE_TESTS_NET_CONNECT_RACE_SIMULATION_H_

#include <algorithm>
#include <chrono>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "gyre/net/connect_race.h"

namespace gyre::testing {

// What becomes of an attempt, so long after it began; at once where `after` is 0.
struct Fate {
  enum Kind { kConnects, kRefused, kNothing } kind;
  std::chrono::milliseconds after{0};
};
inline Fate connects(int after = 0) { return {Fate::kConnects, std::chrono::milliseconds(after)}; }
inline Fate refused(int after = 0) { return {Fate::kRefused, std::chrono::milliseconds(after)}; }
inline Fate nothing() { return {Fate::kNothing, std::chrono::milliseconds(0)}; }

// A race and its attempts, each of which has a "socket" from its start until it ends: what the race
// forgets to give up is left open.
class Simulation {
 public:
  explicit Simulation(std::vector<Fate> fates,
                      internal::ConnectRaceLimits limits = default_limits())
      : fates_(std::move(fates)), race_("connecting", names(fates_.size()), limits, kStart) {}

  static internal::ConnectRaceLimits default_limits() {
    return {.attempt_delay = std::chrono::milliseconds(250),
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
  void run_until(std::chrono::milliseconds time) {
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

  internal::ConnectRace& race() { return race_; }
  void advance() {
    while (const std::optional<internal::ConnectRace::Action> action = race_.next(now_))
      act(*action);
  }

  bool over() const { return over_; }
  std::optional<size_t> winner() const { return winner_; }
  std::chrono::milliseconds elapsed() const {
    return std::chrono::duration_cast<std::chrono::milliseconds>(now_ - kStart);
  }
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

  void act(const internal::ConnectRace::Action& action) {
    EXPECT_FALSE(over_) << "an action after the last one";
    switch (action.kind) {
      case internal::ConnectRace::Action::kStart:
        starts_.push_back(static_cast<int>(elapsed().count()));
        open_.insert({action.attempt, true});
        begin(action.attempt);
        break;
      case internal::ConnectRace::Action::kStop:
        stopped_.push_back(action.attempt);
        EXPECT_EQ(open_.erase(action.attempt), 1u) << "stopped and not running";
        std::erase_if(events_, [&](const auto& event) { return event.first == action.attempt; });
        break;
      case internal::ConnectRace::Action::kWon:
        EXPECT_EQ(open_.erase(action.attempt), 1u);
        winner_ = action.attempt;
        over_ = true;
        break;
      case internal::ConnectRace::Action::kLost:
        over_ = true;
        break;
    }
  }
  void begin(size_t attempt) {
    const Fate& fate = fates_[attempt];
    if (fate.kind == Fate::kNothing) return;
    if (fate.after == std::chrono::milliseconds(0)) return end(attempt);
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
  internal::ConnectRace race_;
  SteadyTime now_ = kStart;
  SteadyTime end_;
  bool over_ = false;
  std::optional<size_t> winner_;
  std::vector<int> starts_;
  std::vector<size_t> stopped_;
  std::map<size_t, bool> open_;
  std::vector<std::pair<size_t, SteadyTime>> events_;
};

inline internal::ConnectRaceLimits with_timeout(int timeout) {
  internal::ConnectRaceLimits limits = Simulation::default_limits();
  limits.timeout = std::chrono::milliseconds(timeout);
  return limits;
}
inline internal::ConnectRaceLimits with_attempt_timeout(int timeout) {
  internal::ConnectRaceLimits limits = Simulation::default_limits();
  limits.attempt_timeout = std::chrono::milliseconds(timeout);
  return limits;
}

}  // namespace gyre::testing

#endif  // GYRE_TESTS_NET_CONNECT_RACE_SIMULATION_H_
