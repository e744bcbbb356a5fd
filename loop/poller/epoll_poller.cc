#include "gyre/loop/poller/epoll_poller.h"

#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <climits>
#include <ctime>

#include "absl/strings/str_format.h"
#include "gyre/loop/errno_status.h"

#if defined(__GLIBC_PREREQ)
#if __GLIBC_PREREQ(2, 35)
#define GYRE_HAS_EPOLL_PWAIT2 1
#endif
#endif

namespace gyre::internal {
namespace {

static_assert(PollEvents::kRead == EPOLLIN && PollEvents::kWrite == EPOLLOUT &&
              PollEvents::kError == (EPOLLERR | EPOLLHUP) && PollEvents::kPeerEnded == EPOLLRDHUP);

// No fd has this number, so no registration has this token.
constexpr uint64_t kWakeToken = UINT64_MAX;

// It puts the handlers of signals off until the system call is over, unless it knows that the call
// blocks: of epoll_wait(2) it does, of read(2) not yet. A handler that wakes the loop would be put
// off for ever.
#if defined(__SANITIZE_THREAD__)
constexpr bool kUnderThreadSanitizer = true;
#elif defined(__has_feature)
constexpr bool kUnderThreadSanitizer = __has_feature(thread_sanitizer);
#else
constexpr bool kUnderThreadSanitizer = false;
#endif

#if defined(SYS_epoll_pwait2)
// Linux 5.11 and later. Found out at the first wait that needs it.
constinit std::atomic<bool> g_has_pwait2{true};

// The C library's function where it has one, so that tools that stand in its place see the wait.
int wait_exactly(int epoll, epoll_event* events, int max_events, std::chrono::nanoseconds timeout) {
#if GYRE_HAS_EPOLL_PWAIT2
  const timespec limit{timeout.count() / 1'000'000'000, timeout.count() % 1'000'000'000};
  return ::epoll_pwait2(epoll, events, max_events, &limit, nullptr);
#else
  // The kernel's own layout of a 64-bit time: __kernel_timespec.
  const struct {
    int64_t seconds;
    int64_t nanoseconds;
  } limit{timeout.count() / 1'000'000'000, timeout.count() % 1'000'000'000};
  return static_cast<int>(
      ::syscall(SYS_epoll_pwait2, epoll, events, max_events, &limit, nullptr, 0));
#endif
}
#endif

epoll_event to_epoll(uint32_t interest, uint64_t token, Trigger trigger) {
  epoll_event event{};
  event.data.u64 = token;
  if (trigger == Trigger::kEdge) {
    event.events = interest | EPOLLET;
  } else if (interest == PollEvents::kNone) {
    // EPOLLHUP and EPOLLERR come unasked; nobody would take the level away.
    event.events = EPOLLONESHOT;
  } else {
    event.events = interest | (trigger == Trigger::kExclusive ? uint32_t{EPOLLEXCLUSIVE} : 0);
  }
  return event;
}

// A reader has to see the end of the stream, and a writer the error, whatever epoll calls it.
uint32_t from_epoll(uint32_t events) {
  constexpr uint32_t kReady = PollEvents::kRead | PollEvents::kWrite;
  if ((events & ~kReady) == 0) [[likely]]
    return events;
  uint32_t result = events & (kReady | PollEvents::kError);
  if (events & (EPOLLERR | EPOLLHUP))
    result |= PollEvents::kRead | PollEvents::kWrite | PollEvents::kError;
  if (events & EPOLLRDHUP) result |= PollEvents::kRead | PollEvents::kPeerEnded;
  return result;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Poller>> EpollPoller::create() {
  UniqueFd event(::eventfd(0, EFD_CLOEXEC));
  if (!event) return errno_status(errno, "eventfd");
  std::unique_ptr<EpollPoller> poller(new EpollPoller(std::move(event)));
  if (absl::Status status = poller->reset(); !status.ok()) return status;
  return poller;
}

absl::Status EpollPoller::reset() {
  UniqueFd epoll(::epoll_create1(EPOLL_CLOEXEC));
  if (!epoll) return errno_status(errno, "epoll_create1");
  // Edge-triggered and not read: each write is an edge, whatever the counter holds (epoll(7)), so a
  // wake-up costs no read. The counter would overflow after 2^64 wake-ups.
  epoll_event wake{};
  wake.events = EPOLLIN | EPOLLET;
  wake.data.u64 = kWakeToken;
  if (::epoll_ctl(epoll.get(), EPOLL_CTL_ADD, event_.get(), &wake) != 0) {
    return errno_status(errno, "epoll_ctl of the wake-up eventfd");
  }
  epoll_ = std::move(epoll);
  return absl::OkStatus();
}

absl::Status EpollPoller::control(int operation, int fd, uint32_t interest, uint64_t token,
                                  Trigger trigger) {
  epoll_event event = to_epoll(interest, token, trigger);
  if (::epoll_ctl(epoll_.get(), operation, fd, &event) == 0) return absl::OkStatus();
  return errno_status(errno, absl::StrFormat("epoll_ctl of fd %d", fd));
}

absl::Status EpollPoller::add(int fd, uint32_t interest, uint64_t token, Trigger trigger) {
  return control(EPOLL_CTL_ADD, fd, interest, token, trigger);
}

absl::Status EpollPoller::modify(int fd, uint32_t interest, uint64_t token, Trigger trigger) {
  // The kernel refuses to change what is exclusive (epoll_ctl(2), EINVAL).
  if (trigger == Trigger::kExclusive) {
    if (absl::Status status = remove(fd); !status.ok()) return status;
    return add(fd, interest, token, trigger);
  }
  return control(EPOLL_CTL_MOD, fd, interest, token, trigger);
}

absl::Status EpollPoller::remove(int fd) {
  // EBADF, ENOENT: closing the fd removed it (epoll(7), question 6).
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr) == 0 || errno == EBADF ||
      errno == ENOENT) {
    return absl::OkStatus();
  }
  return errno_status(errno, absl::StrFormat("epoll_ctl(EPOLL_CTL_DEL) of fd %d", fd));
}

int EpollPoller::wait_for(std::chrono::nanoseconds timeout) {
  if (timeout.count() <= 0) {
    return ::epoll_wait(epoll_.get(), ready_.data(), kMaxEventsPerWait,
                        timeout.count() < 0 ? -1 : 0);
  }
#if defined(SYS_epoll_pwait2)
  if (g_has_pwait2.load(std::memory_order_relaxed)) {
    const int n = wait_exactly(epoll_.get(), ready_.data(), kMaxEventsPerWait, timeout);
    // A sandbox may answer EPERM where it does not know the call.
    if (n >= 0 || (errno != ENOSYS && errno != EPERM)) return n;
    g_has_pwait2.store(false, std::memory_order_relaxed);
  }
#endif
  // Rounded up: rounded down, a timer that is due in half a millisecond would spin until then.
  const int64_t millis = (timeout.count() + 999'999) / 1'000'000;
  return ::epoll_wait(epoll_.get(), ready_.data(), kMaxEventsPerWait,
                      static_cast<int>(std::min<int64_t>(millis, INT_MAX)));
}

Poller::WaitResult EpollPoller::wait(std::chrono::nanoseconds timeout) {
  WaitResult result;
  const int n = wait_for(timeout);
  if (n < 0) {
    result.error = errno == EINTR ? 0 : errno;
    return result;
  }
  size_t count = 0;
  for (int i = 0; i < n; ++i) {
    const epoll_event& ready = ready_[i];
    if (ready.data.u64 == kWakeToken) {
      result.woken = true;
    } else {
      events_[count++] = {ready.data.u64, from_epoll(ready.events)};
    }
  }
  result.events = {events_.data(), count};
  return result;
}

// What epoll does beyond a read(2) is for other fds: 0.9 of a round trip. The counter may still
// hold wake-ups that an earlier wait saw as an edge: they end this one early, once.
Poller::WaitResult EpollPoller::wait_for_wake(std::chrono::nanoseconds timeout) {
  if (timeout.count() > 0 || kUnderThreadSanitizer) return wait(timeout);
  WaitResult result;
  if (timeout.count() == 0) return result;
  uint64_t wakes;
  if (::read(event_.get(), &wakes, sizeof(wakes)) > 0) {
    result.woken = true;
  } else if (errno != EINTR) {
    result.error = errno;
  }
  return result;
}

void EpollPoller::wake() noexcept {
  const uint64_t one = 1;
  // Would wait at the end of the counter only, which 2^64 wake-ups do not reach; another error
  // cannot be reported from a signal handler.
  while (::write(event_.get(), &one, sizeof(one)) < 0 && errno == EINTR) {
  }
}

}  // namespace gyre::internal
