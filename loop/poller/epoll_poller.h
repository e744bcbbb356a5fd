#ifndef GYRE_LOOP_POLLER_EPOLL_POLLER_H_
#define GYRE_LOOP_POLLER_EPOLL_POLLER_H_

#include <sys/epoll.h>

#include <array>
#include <memory>

#include "absl/status/statusor.h"
#include "gyre/loop/poller/poller.h"
#include "gyre/loop/unique_fd.h"

namespace gyre::internal {

// epoll(7), and an eventfd(2) for the wake-up.
class EpollPoller final : public Poller {
 public:
  static absl::StatusOr<std::unique_ptr<Poller>> create();

  std::string_view name() const override { return "epoll"; }
  bool supports_edge() const override { return true; }
  bool supports_exclusive() const override { return true; }
  absl::Status add(int fd, uint32_t interest, uint64_t token, Trigger trigger) override;
  absl::Status modify(int fd, uint32_t interest, uint64_t token, Trigger trigger) override;
  absl::Status remove(int fd) override;
  void remove_closing(int) override {}  // epoll(7), question 6
  absl::Status reset() override;
  WaitResult wait(std::chrono::nanoseconds timeout) override;
  WaitResult wait_for_wake(std::chrono::nanoseconds timeout) override;
  void wake() noexcept override;

 private:
  explicit EpollPoller(UniqueFd event) : event_(std::move(event)) {}

  absl::Status control(int operation, int fd, uint32_t interest, uint64_t token, Trigger trigger);
  int wait_for(std::chrono::nanoseconds timeout);

  UniqueFd epoll_;
  UniqueFd event_;
  std::array<epoll_event, kMaxEventsPerWait> ready_;
  std::array<Event, kMaxEventsPerWait> events_;
};

}  // namespace gyre::internal

#endif  // GYRE_LOOP_POLLER_EPOLL_POLLER_H_
