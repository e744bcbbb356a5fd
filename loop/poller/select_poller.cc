#include "gyre/loop/poller/select_poller.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <ctime>

#include "absl/strings/str_format.h"
#include "gyre/loop/errno_status.h"

namespace gyre::internal {
namespace {

bool is_open(int fd) { return ::fcntl(fd, F_GETFD) != -1; }

absl::Status set_nonblocking_cloexec(int fd) {
  if (::fcntl(fd, F_SETFD, FD_CLOEXEC) != 0 || ::fcntl(fd, F_SETFL, O_NONBLOCK) != 0) {
    return errno_status(errno, "fcntl of the wake-up pipe");
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Poller>> SelectPoller::create() {
  int ends[2];
  if (::pipe(ends) != 0) return errno_status(errno, "pipe");
  UniqueFd read_end(ends[0]), write_end(ends[1]);
  for (int end : ends) {
    if (absl::Status status = set_nonblocking_cloexec(end); !status.ok()) return status;
  }
  if (read_end.get() >= FD_SETSIZE) {
    return absl::ResourceExhaustedError(absl::StrFormat(
        "the select backend cannot watch fd %d: it holds only those below FD_SETSIZE (%d)",
        read_end.get(), FD_SETSIZE));
  }
  return std::unique_ptr<Poller>(new SelectPoller(std::move(read_end), std::move(write_end)));
}

SelectPoller::SelectPoller(UniqueFd read_end, UniqueFd write_end)
    : wake_read_(std::move(read_end)), wake_write_(std::move(write_end)) {
  FD_ZERO(&read_);
  FD_ZERO(&write_);
  FD_SET(wake_read_.get(), &read_);
  fd_limit_ = wake_read_.get() + 1;
  events_.reserve(kMaxEventsPerWait);
}

absl::Status SelectPoller::add(int fd, uint32_t interest, uint64_t token, Trigger) {
  if (fd < 0 || !is_open(fd)) {
    return errno_status(EBADF, absl::StrFormat("watching fd %d", fd));
  }
  if (fd >= FD_SETSIZE) {
    return absl::ResourceExhaustedError(absl::StrFormat(
        "the select backend cannot watch fd %d: it holds only those below FD_SETSIZE (%d)", fd,
        FD_SETSIZE));
  }
  if (registrations_[fd].active || fd == wake_read_.get()) {
    return absl::AlreadyExistsError(absl::StrFormat("fd %d is watched already", fd));
  }
  registrations_[fd] = {token, interest, true};
  watch(fd, interest);
  return absl::OkStatus();
}

absl::Status SelectPoller::modify(int fd, uint32_t interest, uint64_t token, Trigger) {
  if (fd < 0 || fd >= FD_SETSIZE || !registrations_[fd].active) {
    return absl::NotFoundError(absl::StrFormat("fd %d is not watched", fd));
  }
  if (!is_open(fd)) return errno_status(EBADF, absl::StrFormat("watching fd %d", fd));
  registrations_[fd] = {token, interest, true};
  watch(fd, interest);
  return absl::OkStatus();
}

absl::Status SelectPoller::remove(int fd) {
  if (fd < 0 || fd >= FD_SETSIZE || !registrations_[fd].active) return absl::OkStatus();
  registrations_[fd] = {};
  watch(fd, PollEvents::kNone);
  return absl::OkStatus();
}

void SelectPoller::watch(int fd, uint32_t interest) {
  FD_CLR(fd, &read_);
  FD_CLR(fd, &write_);
  if (interest & PollEvents::kRead) FD_SET(fd, &read_);
  if (interest & PollEvents::kWrite) FD_SET(fd, &write_);
  fd_limit_ = std::max(fd_limit_, fd + 1);
  while (fd_limit_ > 0 && !FD_ISSET(fd_limit_ - 1, &read_) && !FD_ISSET(fd_limit_ - 1, &write_)) {
    --fd_limit_;
  }
}

absl::Status SelectPoller::reset() {
  registrations_.fill({});
  FD_ZERO(&read_);
  FD_ZERO(&write_);
  FD_SET(wake_read_.get(), &read_);
  fd_limit_ = wake_read_.get() + 1;
  return absl::OkStatus();
}

// One closed fd fails the whole call: it goes, the others stay.
void SelectPoller::forget_closed_fds() {
  for (int fd = 0; fd < FD_SETSIZE; ++fd) {
    if (registrations_[fd].active && !is_open(fd)) watch(fd, PollEvents::kNone);
  }
}

void SelectPoller::drain_wakes() {
  char buffer[64];
  while (::read(wake_read_.get(), buffer, sizeof(buffer)) == sizeof(buffer)) {
  }
}

Poller::WaitResult SelectPoller::wait(std::chrono::nanoseconds timeout) {
  WaitResult result;
  fd_set readable = read_, writable = write_;
  timespec limit{};
  if (timeout.count() > 0) {
    limit.tv_sec = timeout.count() / 1'000'000'000;
    limit.tv_nsec = timeout.count() % 1'000'000'000;
  }
  const int n = ::pselect(fd_limit_, &readable, &writable, nullptr,
                          timeout.count() < 0 ? nullptr : &limit, nullptr);
  if (n < 0) {
    if (errno == EBADF) {
      forget_closed_fds();
    } else if (errno != EINTR) {
      result.error = errno;
    }
    return result;
  }
  if (n == 0) return result;
  if (FD_ISSET(wake_read_.get(), &readable)) {
    result.woken = true;
    drain_wakes();
    FD_CLR(wake_read_.get(), &readable);
  }
  collect(readable, writable);
  result.events = events_;
  return result;
}

// select says only readable or writable, for an end or an error too; poll(2) tells which.
void SelectPoller::collect(const fd_set& readable, const fd_set& writable) {
  events_.clear();
  std::array<pollfd, kMaxEventsPerWait> ready;
  nfds_t count = 0;
  const int limit = fd_limit_;
  for (int i = 0; i < limit && count < kMaxEventsPerWait; ++i) {
    const int fd = (scan_start_ + i) % limit;
    if (!FD_ISSET(fd, &readable) && !FD_ISSET(fd, &writable)) continue;
    const uint32_t interest = registrations_[fd].interest;
    ready[count++] = {fd,
                      static_cast<short>((interest & PollEvents::kRead ? POLLIN : 0) |
                                         (interest & PollEvents::kWrite ? POLLOUT : 0)),
                      0};
  }
  if (count == 0) return;
  scan_start_ = ready[count - 1].fd + 1;
  if (::poll(ready.data(), count, 0) <= 0) return;  // level-triggered: the next wait sees it again
  for (nfds_t i = 0; i < count; ++i) {
    const pollfd& entry = ready[i];
    uint32_t events = PollEvents::kNone;
    if (entry.revents & POLLIN) events |= PollEvents::kRead;
    if (entry.revents & POLLOUT) events |= PollEvents::kWrite;
    if (entry.revents & (POLLERR | POLLHUP)) {
      events |= PollEvents::kRead | PollEvents::kWrite | PollEvents::kError;
    }
    if (events != PollEvents::kNone) events_.push_back({registrations_[entry.fd].token, events});
  }
}

void SelectPoller::wake() noexcept {
  const char one = 1;
  // EAGAIN: the pipe is full, so the reader wakes anyway.
  while (::write(wake_write_.get(), &one, sizeof(one)) < 0 && errno == EINTR) {
  }
}

}  // namespace gyre::internal
