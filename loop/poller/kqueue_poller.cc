#include "gyre/loop/poller/kqueue_poller.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include <cerrno>

#include "absl/strings/str_format.h"
#include "gyre/loop/errno_status.h"
#include "gyre/loop/fork_detection.h"

namespace gyre::internal {
namespace {

constexpr uint32_t kBothWays = PollEvents::kRead | PollEvents::kWrite;
constexpr timespec kAtOnce{0, 0};

// The identifiers of EVFILT_USER are a space of their own: no fd is meant.
constexpr uintptr_t kWakeIdent = 0;

struct FilterOf {
  uint32_t event;
  int16_t filter;
};
constexpr FilterOf kFilters[] = {{PollEvents::kRead, EVFILT_READ},
                                 {PollEvents::kWrite, EVFILT_WRITE}};

// The filters that an interest needs. A peer's end comes as EV_EOF of the read filter.
uint32_t filters_for(uint32_t interest) {
  return (interest & kBothWays) | (interest & PollEvents::kPeerEnded ? PollEvents::kRead : 0);
}

struct kevent make_change(int fd, int16_t filter, uint16_t flags, uint32_t serial) {
  struct kevent change;
  EV_SET(&change, static_cast<uintptr_t>(fd), filter, flags, 0, 0,
         reinterpret_cast<void*>(static_cast<uintptr_t>(serial)));
  return change;
}

uint32_t serial_of(const struct kevent& event) {
  return static_cast<uint32_t>(reinterpret_cast<uintptr_t>(event.udata));
}

uint32_t direction_of(const struct kevent& event) {
  return event.filter == EVFILT_WRITE ? PollEvents::kWrite : PollEvents::kRead;
}

// Whole microseconds, rounded up: XNU turns the time into ticks of 1/24 us on some machines, and
// older ones into microseconds, always downwards.
timespec to_limit(std::chrono::nanoseconds timeout) {
  if (timeout.count() <= 0) return kAtOnce;
  // itimerfix() of XNU takes no more; FreeBSD reads more than 2^31 as "no limit".
  constexpr int64_t kMaxSeconds = 100'000'000;
  const int64_t micros = timeout.count() / 1000 + (timeout.count() % 1000 > 0 ? 1 : 0);
  if (micros / 1'000'000 >= kMaxSeconds) return {kMaxSeconds, 0};
  return {static_cast<time_t>(micros / 1'000'000), static_cast<long>(micros % 1'000'000 * 1000)};
}

// One direction is at its end. If the other one is too, the connection or the pipe is gone: poll(2)
// says POLLHUP. Asked for the other direction alone, since XNU calls the end of that one POLLHUP
// which it was asked for (poll_callback in bsd/kern/sys_generic.c); POLLNVAL is its word for a
// pipe's.
bool other_direction_ended(int fd, uint32_t ended) {
  pollfd other{fd, static_cast<short>(ended == PollEvents::kRead ? POLLOUT : POLLIN), 0};
  return ::poll(&other, 1, 0) > 0 && (other.revents & (POLLHUP | POLLERR | POLLNVAL)) != 0;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Poller>> KqueuePoller::create() {
  watch_forks();
  std::unique_ptr<KqueuePoller> poller(new KqueuePoller);
  poller->kqueue_.reset(::kqueue());
  const int queue = poller->kqueue_.get();
  if (queue < 0) return errno_status(errno, "kqueue");
  if (::fcntl(queue, F_SETFD, FD_CLOEXEC) != 0) return errno_status(errno, "fcntl of the kqueue");
  struct kevent wake;
  EV_SET(&wake, kWakeIdent, EVFILT_USER, EV_ADD | EV_CLEAR, 0, 0, nullptr);
  if (::kevent(queue, &wake, 1, nullptr, 0, nullptr) != 0) {
    return errno_status(errno, "kevent of the wake-up event");
  }
  return poller;
}

KqueuePoller::KqueuePoller() : fork_generation_(fork_generation()) {
  ready_.reserve(kMaxEventsPerWait);
}

KqueuePoller::~KqueuePoller() {
  // A child of fork() has no such kqueue (kqueue(2)); the number may be another file there.
  if (fork_generation() != fork_generation_) static_cast<void>(kqueue_.release());
}

// ---- Registration

KqueuePoller::Registration* KqueuePoller::find(int fd) {
  if (fd < 0 || static_cast<size_t>(fd) >= registrations_.size()) return nullptr;
  return registrations_[fd].active ? &registrations_[fd] : nullptr;
}

// False if the number was closed since, and another file has it. Enabling what is enabled changes
// nothing.
bool KqueuePoller::kernel_knows(int fd, const Registration& registration) {
  for (const FilterOf& f : kFilters) {
    if (!(registration.filters & f.event)) continue;
    struct kevent query = make_change(fd, f.filter, EV_ENABLE | EV_RECEIPT, registration.serial);
    return ::kevent(kqueue_.get(), &query, 1, &query, 1, &kAtOnce) == 1 && query.data == 0;
  }
  return true;  // registered without a filter: nothing tells
}

// Brings the kernel's filters of an fd up to date at once. `replace`: removes those it has before,
// which EV_ADD would leave as they are but for udata: EV_CLEAR stays what it was (kern_event.c of
// FreeBSD).
absl::Status KqueuePoller::apply(int fd, Registration& registration, bool replace) {
  struct kevent changes[kMaxChangesPerFd];
  struct kevent receipts[kMaxChangesPerFd];
  int count = 0;
  const uint32_t wanted = filters_for(registration.interest);
  const uint16_t clear = registration.trigger == Trigger::kEdge ? EV_CLEAR : 0;
  for (const FilterOf& f : kFilters) {
    if (registration.filters & f.event && (replace || !(wanted & f.event))) {
      changes[count++] = make_change(fd, f.filter, EV_DELETE | EV_RECEIPT, registration.serial);
    }
    // An edge is armed anew, as EPOLL_CTL_MOD does it: what is ready is reported again.
    if (wanted & f.event && (replace || clear != 0 || !(registration.filters & f.event))) {
      changes[count++] =
          make_change(fd, f.filter, EV_ADD | EV_ENABLE | EV_RECEIPT | clear, registration.serial);
    }
  }
  if (count == 0) return absl::OkStatus();
  if (::kevent(kqueue_.get(), changes, count, receipts, count, &kAtOnce) < 0) {
    return errno_status(errno, absl::StrFormat("kevent of fd %d", fd));
  }
  int error = 0;
  for (int i = 0; i < count; ++i) {
    const uint32_t direction = direction_of(changes[i]);
    if (changes[i].flags & EV_DELETE) {
      registration.filters &= ~direction;
    } else if (receipts[i].data == 0) {
      registration.filters |= direction;
    } else if (receipts[i].data == EPIPE) {
      // FreeBSD has no filter for a pipe that nobody reads any more, which is no error here: the
      // waits try it again, and report the end each time.
      defer(fd, registration);
    } else if (error == 0) {
      error = static_cast<int>(receipts[i].data);
    }
  }
  return error == 0 ? absl::OkStatus()
                    : errno_status(error, absl::StrFormat("kevent of fd %d", fd));
}

absl::Status KqueuePoller::add(int fd, uint32_t interest, uint64_t token, Trigger trigger) {
  struct stat file;
  if (::fstat(fd, &file) != 0) return errno_status(errno, absl::StrFormat("watching fd %d", fd));
  // A file's filters report what is behind its position, and nothing at its end. epoll's answer.
  if (S_ISREG(file.st_mode) || S_ISDIR(file.st_mode)) {
    return errno_status(EPERM, absl::StrFormat("watching fd %d, which is a file", fd));
  }
  const Registration* known = find(fd);
  if (known != nullptr && kernel_knows(fd, *known)) {
    return absl::AlreadyExistsError(absl::StrFormat("fd %d is watched already", fd));
  }
  if (static_cast<size_t>(fd) >= registrations_.size()) registrations_.resize(fd + 1);
  Registration& registration = registrations_[fd];
  registration.token = token;
  registration.interest = interest;
  registration.serial = ++last_serial_;
  registration.trigger = trigger;
  registration.active = true;
  // A removal of the same number that is not sent yet goes first.
  absl::Status status = apply(fd, registration, /*replace=*/true);
  if (!status.ok()) remove(fd).IgnoreError();
  return status;
}

absl::Status KqueuePoller::modify(int fd, uint32_t interest, uint64_t token, Trigger trigger) {
  Registration* registration = find(fd);
  if (registration == nullptr) {
    return absl::NotFoundError(absl::StrFormat("fd %d is not watched", fd));
  }
  const Registration before = *registration;
  registration->interest = interest;
  registration->token = token;
  registration->trigger = trigger;
  const bool replace = trigger != before.trigger;
  if (trigger == Trigger::kLevel && !replace &&
      (filters_for(interest) & ~before.filters) == PollEvents::kNone) {
    if (filters_for(interest) != before.filters) defer(fd, *registration);
    return absl::OkStatus();
  }
  absl::Status status = apply(fd, *registration, replace);
  if (status.ok()) return status;
  registration->interest = before.interest;
  registration->token = before.token;
  registration->trigger = before.trigger;
  defer(fd, *registration);
  return status;
}

absl::Status KqueuePoller::remove(int fd) {
  Registration* registration = find(fd);
  if (registration == nullptr) return absl::OkStatus();
  registration->active = false;
  registration->interest = PollEvents::kNone;
  if (registration->filters != PollEvents::kNone) defer(fd, *registration);
  return absl::OkStatus();
}

void KqueuePoller::defer(int fd, Registration& registration) {
  if (registration.pending) return;
  registration.pending = true;
  pending_.push_back(fd);
}

// ---- Waiting

// What the waits send is only the difference, so that a change that is taken back costs nothing.
void KqueuePoller::collect_changes() {
  changes_.clear();
  for (const int fd : pending_) {
    Registration& registration = registrations_[fd];
    registration.pending = false;
    const uint32_t wanted = filters_for(registration.interest);
    const uint16_t clear = registration.trigger == Trigger::kEdge ? EV_CLEAR : 0;
    for (const FilterOf& f : kFilters) {
      if ((registration.filters & f.event) == (wanted & f.event)) continue;
      const uint16_t flags = wanted & f.event ? EV_ADD | EV_ENABLE | clear : EV_DELETE;
      changes_.push_back(make_change(fd, f.filter, flags, registration.serial));
    }
    registration.filters = wanted;
  }
  pending_.clear();
}

int KqueuePoller::receive(std::span<const struct kevent> changes, const timespec* limit) {
  return ::kevent(kqueue_.get(), changes.data(), static_cast<int>(changes.size()),
                  kernel_events_.data(), kMaxEventsPerWait - static_cast<int>(ready_.size()),
                  limit);
}

// A change's error needs a place in the list of events, or the changes behind it are not looked at
// (kqueue(2)). Those that are too many go ahead, as receipts, which take no events along.
void KqueuePoller::send_surplus_changes() {
  while (changes_.size() > kMaxChanges) {
    const std::span<struct kevent> chunk = std::span(changes_).last(kMaxChanges);
    for (struct kevent& change : chunk) change.flags |= EV_RECEIPT;
    const int n = receive(chunk, &kAtOnce);
    for (int i = 0; i < n; ++i) take_change_error(kernel_events_[i]);
    changes_.resize(changes_.size() - kMaxChanges);
  }
}

Poller::WaitResult KqueuePoller::wait(std::chrono::nanoseconds timeout) {
  WaitResult result;
  ready_.clear();
  collect_changes();
  send_surplus_changes();
  const timespec rounded_up = to_limit(timeout);
  const timespec* const limit = timeout.count() < 0 ? nullptr : &rounded_up;
  int n = receive(changes_, ready_.empty() ? limit : &kAtOnce);
  if (n > 0 && kernel_events_[0].flags & EV_ERROR) {
    // Changes failed: then their errors alone are returned, at once, and the wait is still to come.
    for (int i = 0; i < n; ++i) take_change_error(kernel_events_[i]);
    n = receive({}, ready_.empty() ? limit : &kAtOnce);
  }
  // After EINTR the changes have been made (kqueue(2), ERRORS).
  if (n < 0 && errno != EINTR) result.error = errno;
  for (int i = 0; i < n; ++i) {
    if (kernel_events_[i].filter == EVFILT_USER) {
      result.woken = true;
    } else {
      take_event(kernel_events_[i]);
    }
  }
  finish(result);
  return result;
}

// FreeBSD leaves EV_ERROR alone in flags, so what the change was is in the registration.
void KqueuePoller::take_change_error(const struct kevent& event) {
  if (event.data == 0) return;  // a receipt
  const int fd = static_cast<int>(event.ident);
  Registration& registration = registrations_[fd];
  if (registration.serial != serial_of(event)) return;
  registration.filters &= ~direction_of(event);
  // The file was closed without remove(), or before the removal was sent: the kernel has no filter.
  if (event.data == ENOENT || event.data == EBADF || !registration.active) return;
  // EPIPE: nobody reads the pipe any more. Anything else is told in the same way: no caller is
  // left.
  if (ready_.size() == kMaxEventsPerWait - kMaxChanges) return defer(fd, registration);
  merge(fd, registration, {fd, direction_of(event), PollEvents::kNone, true});
  if (registration.trigger == Trigger::kLevel) defer(fd, registration);
}

void KqueuePoller::take_event(const struct kevent& event) {
  const int fd = static_cast<int>(event.ident);
  const uint32_t direction = direction_of(event);
  Registration& registration = registrations_[fd];
  if (!registration.active || registration.serial != serial_of(event)) {
    // Of a registration that has ended: whatever kept the filter alive, it has to go.
    registration.filters |= direction;
    defer(fd, registration);
    return;
  }
  if (event.flags & EV_ONESHOT) {
    // FreeBSD's last word on a pipe that nobody reads any more: it has removed the filter
    // (pipeclose, knlist_clear), though a level has to be reported again.
    registration.filters &= ~direction;
    if (registration.trigger == Trigger::kLevel) defer(fd, registration);
  }
  const bool ended = event.flags & EV_EOF;
  // Beside EV_EOF, fflags is the socket's errno.
  merge(fd, registration, {fd, direction, ended ? direction : 0, ended && event.fflags != 0});
}

void KqueuePoller::merge(int fd, Registration& registration, const Ready& ready) {
  const size_t index = registration.ready_index;
  if (index >= ready_.size() || ready_[index].fd != fd) {
    registration.ready_index = static_cast<uint32_t>(ready_.size());
    ready_.push_back(ready);
    return;
  }
  ready_[index].events |= ready.events;
  ready_[index].ended |= ready.ended;
  ready_[index].failed |= ready.failed;
}

void KqueuePoller::finish(WaitResult& result) {
  size_t count = 0;
  for (const Ready& ready : ready_) {
    const Registration& registration = registrations_[ready.fd];
    uint32_t events = ready.events;
    if (ready.failed || ready.ended == kBothWays ||
        (ready.ended != PollEvents::kNone && other_direction_ended(ready.fd, ready.ended))) {
      events |= kBothWays | PollEvents::kError;
    }
    if (ready.ended & PollEvents::kRead) events |= PollEvents::kPeerEnded;
    events &= registration.interest | PollEvents::kError;
    if (events != PollEvents::kNone) events_[count++] = {registration.token, events};
  }
  result.events = {events_.data(), count};
}

void KqueuePoller::wake() noexcept {
  struct kevent trigger;
  EV_SET(&trigger, kWakeIdent, EVFILT_USER, 0, NOTE_TRIGGER, 0, nullptr);
  // Without a list of events it does not sleep, so there is no EINTR; another error cannot be
  // reported from a signal handler.
  ::kevent(kqueue_.get(), &trigger, 1, nullptr, 0, nullptr);
}

}  // namespace gyre::internal
