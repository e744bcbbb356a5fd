#ifndef GYRE_TESTING_FORWARDING_POLLER_H_
#define GYRE_TESTING_FORWARDING_POLLER_H_

#include <chrono>
#include <cstdint>
#include <memory>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "gyre/loop/poller/poller.h"

namespace gyre::testing {

// A poller that leaves everything to another one, which it owns: the base of those that change one
// thing of it, mostly the wait. wait_for_wake() is a wait() of this one, so that who changes that
// has changed both. For IOLoopOptions::poller_factory. Threads: as Poller says.
class ForwardingPoller : public Poller {
 public:
  explicit ForwardingPoller(std::unique_ptr<Poller> poller) : poller_(std::move(poller)) {}

  std::string_view name() const override { return poller_->name(); }
  bool supports_edge() const override { return poller_->supports_edge(); }
  bool supports_exclusive() const override { return poller_->supports_exclusive(); }
  absl::Status add(int fd, uint32_t interest, uint64_t token, Trigger trigger) override {
    return poller_->add(fd, interest, token, trigger);
  }
  absl::Status modify(int fd, uint32_t interest, uint64_t token, Trigger trigger) override {
    return poller_->modify(fd, interest, token, trigger);
  }
  absl::Status remove(int fd) override { return poller_->remove(fd); }
  void remove_closing(int fd) override { poller_->remove_closing(fd); }
  WaitResult wait(std::chrono::nanoseconds timeout) override { return poller_->wait(timeout); }
  absl::Status reset() override { return poller_->reset(); }
  void wake() noexcept override { poller_->wake(); }

 protected:
  // The other one's own.
  WaitResult forward_wait_for_wake(std::chrono::nanoseconds timeout) {
    return poller_->wait_for_wake(timeout);
  }

 private:
  const std::unique_ptr<Poller> poller_;
};

}  // namespace gyre::testing

#endif  // GYRE_TESTING_FORWARDING_POLLER_H_
