#include "gyre/net/resolver.h"

#include <algorithm>
#include <list>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_format.h"
#include "gyre/loop/mutex.h"
#include "gyre/loop/run_sync.h"

namespace gyre {
namespace {

// RFC 1035 has 255 bytes for a name.
constexpr size_t kMaxHostBytes = 255;

absl::Status check_host(std::string_view host) {
  const auto invalid = [&](const char* why) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "host \"%s\" %s", absl::CHexEscape(std::string(host.substr(0, kMaxHostBytes))), why));
  };
  if (host.empty()) return invalid("is empty");
  if (host.find('\0') != std::string_view::npos) return invalid("has a NUL byte");
  if (host.size() > kMaxHostBytes) return invalid("... has more than 255 bytes");
  return absl::OkStatus();
}

ResolvedAddresses with_port(ResolvedAddresses result, uint16_t port) {
  if (result.ok()) {
    for (SocketAddress& address : *result) address.set_port(port);
  }
  return result;
}

Future<ResolvedAddresses> at_once(ResolvedAddresses result) {
  Promise<ResolvedAddresses> promise;
  promise.set_value(std::move(result));
  return promise.get_future();
}

}  // namespace

// Shared with the lookups that are going on.
class Resolver::State : public std::enable_shared_from_this<State> {
 public:
  explicit State(ResolverOptions options) : options_(std::move(options)) {}

  Future<ResolvedAddresses> resolve(const std::string& host, uint16_t port);
  void clear() {
    internal::MutexLock lock(mutex_);
    entries_.clear();
    by_host_.clear();
  }
  Stats stats() const {
    internal::MutexLock lock(mutex_);
    Stats stats = stats_;
    stats.entries = entries_.size();
    return stats;
  }
  std::string overridden(std::string host) const {
    const auto it = options_.overrides.find(host);
    return it == options_.overrides.end() ? std::move(host) : it->second;
  }

 private:
  class Lookup;
  struct Waiter {
    Promise<ResolvedAddresses> promise;
    uint16_t port;
  };
  struct Entry {
    std::string host;
    ResolvedAddresses result;
    SteadyTime good_until;
  };

  SteadyTime now() const {
    return options_.clock != nullptr ? options_.clock->now() : std::chrono::steady_clock::now();
  }
  const ResolvedAddresses* remembered(const std::string& host)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void remember(const std::string& host, const ResolvedAddresses& result)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void finish(const std::string& host, const ResolvedAddresses& result, bool keep);
  ResolvedAddresses look_up(const std::string& host) const;

  const ResolverOptions options_;
  mutable internal::Mutex mutex_;
  std::list<Entry> entries_ ABSL_GUARDED_BY(mutex_);  // the most recently used first
  absl::flat_hash_map<std::string, std::list<Entry>::iterator> by_host_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<std::string, std::vector<Waiter>> lookups_ ABSL_GUARDED_BY(mutex_);
  Stats stats_ ABSL_GUARDED_BY(mutex_);
};

// The work of one lookup. Who waits is told also if the executor destroys it unrun.
class Resolver::State::Lookup {
 public:
  Lookup(std::shared_ptr<State> state, std::string host)
      : state_(std::move(state)), host_(std::move(host)) {}
  Lookup(Lookup&&) = default;
  ~Lookup() {
    if (state_ == nullptr) return;
    state_->finish(host_,
                   absl::UnavailableError(
                       absl::StrFormat("host \"%s\": the executor refused to look it up", host_)),
                   /*keep=*/false);
  }

  void operator()() {
    const std::shared_ptr<State> state = std::move(state_);
    state->finish(host_, state->look_up(host_), /*keep=*/true);
  }

 private:
  std::shared_ptr<State> state_;
  std::string host_;
};

ResolvedAddresses Resolver::State::look_up(const std::string& host) const {
  ResolvedAddresses result =
      absl::InternalError(absl::StrFormat("host \"%s\": the lookup threw an exception", host));
  static_cast<void>(internal::exception_of(
      [&] { result = options_.lookup ? options_.lookup(host) : SocketAddress::resolve(host, 0); }));
  if (result.ok() && result->empty()) {
    return absl::NotFoundError(absl::StrFormat("host \"%s\" has no address", host));
  }
  return result;
}

Future<ResolvedAddresses> Resolver::State::resolve(const std::string& host, uint16_t port) {
  Waiter waiter{{}, port};
  Future<ResolvedAddresses> future = waiter.promise.get_future();
  {
    internal::MutexLock lock(mutex_);
    if (const ResolvedAddresses* known = remembered(host)) {
      ++stats_.hits;
      return at_once(with_port(*known, port));
    }
    const auto it = lookups_.find(host);
    if (it != lookups_.end()) {
      ++stats_.shared;
      it->second.push_back(std::move(waiter));
      return future;
    }
    if (lookups_.size() >= options_.max_lookups) {
      return at_once(absl::ResourceExhaustedError(absl::StrFormat(
          "host \"%s\": %d names are being looked up already", host, options_.max_lookups)));
    }
    ++stats_.lookups;
    lookups_[host].push_back(std::move(waiter));
  }
  // Without the lock: an executor may run, or destroy, the work at once.
  Executor& executor = options_.executor != nullptr ? *options_.executor : default_executor();
  static_cast<void>(executor.execute(Lookup(shared_from_this(), host)));
  return future;
}

const ResolvedAddresses* Resolver::State::remembered(const std::string& host) {
  const auto it = by_host_.find(host);
  if (it == by_host_.end()) return nullptr;
  if (it->second->good_until <= now()) {
    entries_.erase(it->second);
    by_host_.erase(it);
    return nullptr;
  }
  entries_.splice(entries_.begin(), entries_, it->second);
  return &it->second->result;
}

void Resolver::State::remember(const std::string& host, const ResolvedAddresses& result) {
  if (const auto it = by_host_.find(host); it != by_host_.end()) {
    entries_.erase(it->second);
    by_host_.erase(it);
  }
  const auto age = result.ok() ? options_.max_age : options_.max_negative_age;
  if (options_.max_entries == 0 || age <= std::chrono::nanoseconds::zero()) return;
  if (entries_.size() >= options_.max_entries) {
    by_host_.erase(entries_.back().host);
    entries_.pop_back();
  }
  entries_.push_front({host, result, internal::saturating_add(now(), age)});
  by_host_[host] = entries_.begin();
}

void Resolver::State::finish(const std::string& host, const ResolvedAddresses& result, bool keep) {
  std::vector<Waiter> waiters;
  {
    internal::MutexLock lock(mutex_);
    if (keep) remember(host, result);
    const auto it = lookups_.find(host);
    waiters = std::move(it->second);
    lookups_.erase(it);
  }
  for (Waiter& waiter : waiters) waiter.promise.set_value(with_port(result, waiter.port));
}

Resolver::Resolver(ResolverOptions options) : state_(std::make_shared<State>(std::move(options))) {}
Resolver::~Resolver() = default;

Future<ResolvedAddresses> Resolver::resolve(std::string_view host, uint16_t port) {
  if (absl::Status status = check_host(host); !status.ok()) return at_once(std::move(status));
  const std::string name = host.starts_with("unix:")
                               ? std::string(host)
                               : state_->overridden(absl::AsciiStrToLower(std::string(host)));
  absl::StatusOr<SocketAddress> numeric = SocketAddress::parse(name, port);
  if (numeric.ok()) return at_once(std::vector<SocketAddress>{*std::move(numeric)});
  if (name.starts_with("unix:")) return at_once(numeric.status());
  return state_->resolve(name, port);
}

void Resolver::clear() { state_->clear(); }
Resolver::Stats Resolver::stats() const { return state_->stats(); }

}  // namespace gyre
