#include "gyre/net/connect_race.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_format.h"

namespace gyre::internal {

std::vector<SocketAddress> interleave_families(const std::vector<SocketAddress>& addresses) {
  if (addresses.empty()) return {};
  std::deque<SocketAddress> first, other;
  for (const SocketAddress& address : addresses) {
    (address.family() == addresses.front().family() ? first : other).push_back(address);
  }
  std::vector<SocketAddress> result;
  result.reserve(addresses.size());
  for (std::deque<SocketAddress>* turn = &first; result.size() < addresses.size();
       turn = turn == &first ? &other : &first) {
    if (turn->empty()) continue;
    result.push_back(turn->front());
    turn->pop_front();
  }
  return result;
}

ConnectRace::ConnectRace(std::string what, std::vector<std::string> targets,
                         ConnectRaceLimits limits, SteadyTime began)
    : what_(std::move(what)),
      limits_(limits),
      end_(limits.timeout.has_value()
               ? std::optional<SteadyTime>(saturating_add(began, *limits.timeout))
               : std::nullopt) {
  for (std::string& target : targets) attempts_.push_back({.target = std::move(target)});
}

std::optional<SteadyTime> ConnectRace::attempt_deadline(const Attempt& attempt) const {
  if (attempt.state != Attempt::kRunning || !limits_.attempt_timeout.has_value()) {
    return std::nullopt;
  }
  return saturating_add(attempt.started, *limits_.attempt_timeout);
}

void ConnectRace::succeeded(size_t attempt) {
  if (over_ || winner_.has_value() || attempts_[attempt].state != Attempt::kRunning) return;
  winner_ = attempt;
  for (size_t i = 0; i < attempts_.size(); ++i) {
    if (i != attempt && attempts_[i].state == Attempt::kRunning) to_stop_.push_back(i);
  }
}

void ConnectRace::failed(size_t attempt, absl::Status why) {
  if (attempts_[attempt].state != Attempt::kRunning) return;
  attempts_[attempt].state = Attempt::kFailed;
  attempts_[attempt].why = std::move(why);
  --running_;
  // The next one need not wait: there is nothing to compete with.
  if (attempt + 1 == started_ || running_ == 0) next_at_once_ = true;
}

void ConnectRace::give_up(absl::Status why) {
  if (over_ || winner_.has_value() || !outcome_.ok()) return;
  for (size_t i = 0; i < attempts_.size(); ++i) {
    if (attempts_[i].state == Attempt::kRunning) to_stop_.push_back(i);
  }
  const std::string attempts = report();
  outcome_ =
      absl::Status(why.code(), absl::StrFormat("%s: %s%s%s", what_, std::string(why.message()),
                                               attempts.empty() ? "" : ". ", attempts));
}

std::string ConnectRace::report() const {
  std::string text;
  for (const Attempt& attempt : attempts_) {
    if (attempt.state == Attempt::kWaiting) continue;
    if (!text.empty()) text += "; ";
    text += attempt.target + ": ";
    text += attempt.state == Attempt::kFailed ? std::string(attempt.why.message())
                                              : std::string("no answer yet");
  }
  return text;
}

void ConnectRace::expire(SteadyTime now) {
  if (winner_.has_value() || !outcome_.ok()) return;
  if (end_.has_value() && now >= *end_) {
    return give_up(absl::DeadlineExceededError("the time is over"));
  }
  for (size_t i = 0; i < attempts_.size(); ++i) {
    const std::optional<SteadyTime> deadline = attempt_deadline(attempts_[i]);
    if (!deadline.has_value() || now < *deadline) continue;
    to_stop_.push_back(i);
    failed(i, absl::DeadlineExceededError("no answer in time"));
  }
}

bool ConnectRace::next_is_due(SteadyTime now) const {
  if (started_ == attempts_.size()) return false;
  return next_at_once_ ||
         now >= saturating_add(attempts_[started_ - 1].started, limits_.attempt_delay);
}

void ConnectRace::lose() {
  absl::StatusCode code =
      attempts_.empty() ? absl::StatusCode::kNotFound : attempts_.front().why.code();
  for (const Attempt& attempt : attempts_) {
    if (attempt.why.code() != code) code = absl::StatusCode::kUnavailable;
  }
  outcome_ = absl::Status(
      code, absl::StrFormat("%s: %s", what_, attempts_.empty() ? "no address" : report()));
}

std::optional<ConnectRace::Action> ConnectRace::next(SteadyTime now) {
  if (over_) return std::nullopt;
  expire(now);
  if (!to_stop_.empty()) {
    const size_t attempt = to_stop_.front();
    to_stop_.pop_front();
    if (attempts_[attempt].state == Attempt::kRunning) {
      attempts_[attempt].state = Attempt::kStopped;
      --running_;
    }
    return Action{Action::kStop, attempt};
  }
  if (winner_.has_value()) {
    over_ = true;
    return Action{Action::kWon, *winner_};
  }
  if (outcome_.ok() && next_is_due(now)) {
    const size_t attempt = started_++;
    attempts_[attempt].state = Attempt::kRunning;
    attempts_[attempt].started = now;
    ++running_;
    next_at_once_ = false;
    return Action{Action::kStart, attempt};
  }
  if (outcome_.ok() && running_ == 0) lose();
  if (outcome_.ok()) return std::nullopt;
  over_ = true;
  return Action{Action::kLost, 0};
}

std::optional<SteadyTime> ConnectRace::deadline() const {
  if (over_) return std::nullopt;
  std::optional<SteadyTime> earliest = end_;
  const auto consider = [&](SteadyTime time) {
    if (!earliest.has_value() || time < *earliest) earliest = time;
  };
  for (const Attempt& attempt : attempts_) {
    if (const std::optional<SteadyTime> deadline = attempt_deadline(attempt)) consider(*deadline);
  }
  if (started_ > 0 && started_ < attempts_.size()) {
    consider(saturating_add(attempts_[started_ - 1].started, limits_.attempt_delay));
  }
  return earliest;
}

}  // namespace gyre::internal
