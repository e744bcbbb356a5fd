#ifndef GYRE_LOOP_POLLER_KQUEUE_POLLER_H_
#define GYRE_LOOP_POLLER_KQUEUE_POLLER_H_

#include <sys/types.h>
// <sys/event.h> of FreeBSD before 12.0 does not include what it needs (kqueue(2), BUGS).
#include <sys/event.h>

#include <array>
#include <chrono>
#include <cstdint>
#include <ctime>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gyre/loop/poller/poller.h"
#include "gyre/loop/unique_fd.h"

namespace gyre::internal {

// kqueue(2) of macOS and FreeBSD, and an EVFILT_USER event for the wake-up.
//
// A kevent is an fd and one filter, so a registration has up to two. When the kernel hears of them:
//
//     add(), modify() that adds a filter    at once, with EV_RECEIPT: its error is the caller's
//     modify() that only drops filters      with the next wait, in the same kevent(2)
//     remove()                              the same; most fds are closed by then, and gone
//
// It has no reset(): the kernel forgets an fd's kevents when its number is closed, copies or not.
class KqueuePoller final : public Poller {
 public:
  static absl::StatusOr<std::unique_ptr<Poller>> create();
  ~KqueuePoller() override;

  std::string_view name() const override { return "kqueue"; }
  bool supports_edge() const override { return true; }
  absl::Status add(int fd, uint32_t interest, uint64_t token, Trigger trigger) override;
  absl::Status modify(int fd, uint32_t interest, uint64_t token, Trigger trigger) override;
  absl::Status remove(int fd) override;
  WaitResult wait(std::chrono::nanoseconds timeout) override;
  void wake() noexcept override;

 private:
  struct Registration {
    uint64_t token = 0;
    uint32_t interest = PollEvents::kNone;
    uint32_t serial = 0;  // the kevents' udata, which tells the registration that they are of
    uint32_t filters = PollEvents::kNone;  // what the kernel has: kRead, kWrite
    uint32_t ready_index = 0;              // in ready_, if it is there
    Trigger trigger = Trigger::kLevel;
    bool active = false;
    bool pending = false;  // in pending_
  };

  // What the kevents of one fd say together.
  struct Ready {
    int fd;
    uint32_t events;  // kRead, kWrite
    uint32_t ended;   // the directions that came with EV_EOF: kRead, kWrite
    bool failed;
  };

  // A filter's deletion and addition, for each of the two.
  static constexpr int kMaxChangesPerFd = 4;
  // In one kevent(2). The list of events has to have room for the error of each, and for events.
  static constexpr int kMaxChanges = kMaxEventsPerWait / 2;

  KqueuePoller();

  Registration* find(int fd);
  bool kernel_knows(int fd, const Registration& registration);
  absl::Status apply(int fd, Registration& registration, bool replace);
  void defer(int fd, Registration& registration);
  void collect_changes();
  void send_surplus_changes();
  int receive(std::span<const struct kevent> changes, const timespec* limit);
  void take_change_error(const struct kevent& event);
  void take_event(const struct kevent& event);
  void merge(int fd, Registration& registration, const Ready& ready);
  void finish(WaitResult& result);

  UniqueFd kqueue_;
  const uint32_t fork_generation_;
  uint32_t last_serial_ = 0;
  std::vector<Registration> registrations_;  // by fd
  std::vector<int> pending_;                 // the kernel's filters are not what they should be
  std::vector<struct kevent> changes_;
  std::array<struct kevent, kMaxEventsPerWait> kernel_events_;
  std::vector<Ready> ready_;
  std::array<Event, kMaxEventsPerWait> events_;
};

}  // namespace gyre::internal

#endif  // GYRE_LOOP_POLLER_KQUEUE_POLLER_H_
