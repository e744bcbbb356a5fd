#include "gyre/net/admission.h"

#include "absl/strings/str_format.h"

namespace gyre::internal {

absl::Status check(const ConnectionLimits& limits) {
  // Written so that what is no number is refused, too.
  const auto check_number = [](const char* name, double number) {
    if (number >= 0) return absl::OkStatus();
    return absl::InvalidArgumentError(
        absl::StrFormat("ConnectionLimits::%s is %g: it is 0 or more", name, number));
  };
  absl::Status status = check_number("accepts_per_second", limits.accepts_per_second);
  status.Update(check_number("accept_burst", limits.accept_burst));
  return status;
}

void Place::release() {
  if (admission_ != nullptr) std::exchange(admission_, nullptr)->leave(source_);
}

Admission::Admission(const ConnectionLimits& limits, size_t loops)
    : limits_(limits),
      all_loops_(limits.per_loop * loops),
      sources_(limits.per_source, limits.max_sources) {
  if (limits.accepts_per_second > 0) rate_.emplace(limits.accepts_per_second, limits.accept_burst);
}

Verdict Admission::at(AtLimit policy, LimitKind limit, bool last_call) {
  return {policy == AtLimit::kWait && !last_call ? Verdict::kWait : Verdict::kReject, limit};
}

Verdict Admission::enter(uint64_t source, std::chrono::steady_clock::time_point now, bool last_call,
                         Place& place) {
  MutexLock lock(mutex_);
  if (limits_.total > 0 && open_ >= limits_.total) {
    return at(limits_.at_total, LimitKind::kTotal, last_call);
  }
  if (all_loops_ > 0 && open_ >= all_loops_) return loop_is_full(last_call);
  if (limits_.per_source > 0 && sources_.full(source)) {
    return at(limits_.at_source, LimitKind::kSource, last_call);
  }
  if (rate_.has_value() && !last_call) {
    if (const RateLimit::Duration wait = rate_->wait(now); wait > RateLimit::Duration::zero()) {
      Verdict verdict = at(limits_.at_rate, LimitKind::kRate, last_call);
      verdict.retry_in = wait;
      return verdict;
    }
    rate_->take(now);
  }
  ++open_;
  const bool counted = limits_.per_source > 0 && sources_.enter(source);
  place = Place(shared_from_this(), counted ? source : 0);
  return {};
}

void Admission::leave(uint64_t source) {
  {
    MutexLock lock(mutex_);
    --open_;
    if (source != 0) sources_.leave(source);
  }
  places_.notify();
}

}  // namespace gyre::internal
