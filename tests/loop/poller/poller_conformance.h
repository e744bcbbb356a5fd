#ifndef GYRE_TESTS_LOOP_POLLER_POLLER_CONFORMANCE_H_
#define GYRE_TESTS_LOOP_POLLER_POLLER_CONFORMANCE_H_

#include <sys/socket.h>

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "gyre/loop/poller/poller.h"
#include "gyre/loop/poller/poller_factory.h"
#include "gyre/tests/support/event.h"
#include "gyre/tests/support/kqueue_backend.h"
#include "gyre/tests/support/sockets.h"

namespace gyre::testing {

struct PollerMaker {
  std::string name;
  std::function<absl::StatusOr<std::unique_ptr<Poller>>()> make;
};

inline void PrintTo(const PollerMaker& maker, std::ostream* out) { *out << maker.name; }

inline std::vector<PollerMaker> all_pollers() {
  std::vector<PollerMaker> makers{{"kqueue", create_kqueue_poller}};
  for (const Backend backend : available_backends()) {
    if (backend == Backend::kKqueue) continue;
    makers.push_back({std::string(to_string(backend)), [=] { return create_poller(backend); }});
  }
  return makers;
}

// A poller of each backend, which nobody asks what it is.
class PollerConformance : public ::testing::TestWithParam<PollerMaker> {
 protected:
  using Events = std::map<uint64_t, uint32_t>;  // by token

  PollerConformance() {
    absl::StatusOr<std::unique_ptr<Poller>> poller = GetParam().make();
    EXPECT_TRUE(poller.ok()) << poller.status();
    if (poller.ok()) poller_ = std::move(*poller);
  }

  absl::Status add(int fd, uint32_t interest, uint64_t token, Trigger trigger = Trigger::kLevel) {
    absl::Status status = poller_->add(fd, interest, token, trigger);
    if (status.ok()) interest_[token] = interest;
    return status;
  }
  absl::Status modify(int fd, uint32_t interest, uint64_t token,
                      Trigger trigger = Trigger::kLevel) {
    absl::Status status = poller_->modify(fd, interest, token, trigger);
    if (status.ok()) interest_[token] = interest;
    return status;
  }

  // One wait: what is reported, as far as it was asked for.
  Events wait(std::chrono::nanoseconds timeout = std::chrono::nanoseconds(0)) {
    const Poller::WaitResult result = poller_->wait(timeout);
    EXPECT_EQ(result.error, 0);
    EXPECT_LE(result.events.size(), static_cast<size_t>(Poller::kMaxEventsPerWait));
    woken_ = result.woken;
    Events events;
    for (const Poller::Event& event : result.events) {
      EXPECT_TRUE(interest_.contains(event.token)) << "a token that was never given";
      EXPECT_FALSE(events.contains(event.token)) << "two events for one fd in one wait";
      const uint32_t asked_for = interest_[event.token];
      if (!(event.events & PollEvents::kError)) {
        EXPECT_EQ(event.events & ~asked_for, PollEvents::kNone) << "not asked for";
      }
      events[event.token] = event.events & (asked_for | PollEvents::kError);
    }
    return events;
  }

  // Waits until there is something of `token`.
  uint32_t next(uint64_t token) {
    for (Patience patience; patience.left();) {
      const Events events = wait(std::chrono::milliseconds(10));
      if (auto it = events.find(token); it != events.end()) return it->second;
    }
    ADD_FAILURE() << "nothing came of token " << token;
    return PollEvents::kNone;
  }

  // Waits until `token` has these events, at least.
  bool comes(uint64_t token, uint32_t wanted) {
    for (Patience patience; patience.left();) {
      const Events events = wait(std::chrono::milliseconds(10));
      if (auto it = events.find(token); it != events.end() && (it->second & wanted) == wanted) {
        return true;
      }
    }
    return false;
  }

  // That nothing is reported, as often as it is asked.
  void expect_silence() {
    for (int i = 0; i < 3; ++i) EXPECT_THAT(wait(), ::testing::IsEmpty());
  }

  // How long a wait takes in which nothing happens.
  std::chrono::nanoseconds idle_wait(std::chrono::nanoseconds timeout) {
    const auto start = std::chrono::steady_clock::now();
    EXPECT_THAT(wait(timeout), ::testing::IsEmpty());
    return std::chrono::steady_clock::now() - start;
  }

  std::unique_ptr<Poller> poller_;
  std::map<uint64_t, uint32_t> interest_;
  bool woken_ = false;
};

// The ends of a connection that is reset: `a` is told of it.
inline FdPair reset_pair() {
  FdPair pair = tcp_pair();
  const linger at_once{1, 0};
  EXPECT_EQ(::setsockopt(pair.b.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once)), 0);
  return pair;
}

}  // namespace gyre::testing

#endif  // GYRE_TESTS_LOOP_POLLER_POLLER_CONFORMANCE_H_
