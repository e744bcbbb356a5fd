#ifndef GYRE_LOOP_POLLER_SELECT_POLLER_H_
#define GYRE_LOOP_POLLER_SELECT_POLLER_H_

#include <sys/select.h>

#include <array>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "gyre/loop/poller/poller.h"
#include "gyre/loop/unique_fd.h"

namespace gyre::internal {

// select(2), the portable reference, and a pipe for the wake-up. Holds the fds below FD_SETSIZE.
class SelectPoller final : public Poller {
 public:
  static absl::StatusOr<std::unique_ptr<Poller>> create();

  std::string_view name() const override { return "select"; }
  absl::Status add(int fd, uint32_t interest, uint64_t token, Trigger trigger) override;
  absl::Status modify(int fd, uint32_t interest, uint64_t token, Trigger trigger) override;
  absl::Status remove(int fd) override;
  absl::Status reset() override;
  WaitResult wait(std::chrono::nanoseconds timeout) override;
  void wake() noexcept override;

 private:
  struct Registration {
    uint64_t token = 0;
    uint32_t interest = PollEvents::kNone;
    bool active = false;
  };

  SelectPoller(UniqueFd read_end, UniqueFd write_end);

  void watch(int fd, uint32_t interest);
  void forget_closed_fds();
  void drain_wakes();
  void collect(const fd_set& readable, const fd_set& writable);

  UniqueFd wake_read_;
  UniqueFd wake_write_;
  std::array<Registration, FD_SETSIZE> registrations_;
  fd_set read_;
  fd_set write_;
  int fd_limit_;        // above the highest fd that is watched
  int scan_start_ = 0;  // turns, so that a full batch starves nobody
  std::vector<Event> events_;
};

}  // namespace gyre::internal

#endif  // GYRE_LOOP_POLLER_SELECT_POLLER_H_
