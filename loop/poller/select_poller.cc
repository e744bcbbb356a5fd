#include "gyre/loop/poller/select_poller.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
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

absl::Status past_the_limit(int fd, int limit) {
  return absl::ResourceExhaustedError(absl::StrFormat(
      "the select backend cannot watch fd %d: on this platform it holds only those below "
      "FD_SETSIZE (%d); choose another backend, or keep fewer fds open",
      fd, limit));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Poller>> SelectPoller::create_with_limit(int fd_limit) {
  int ends[2];
  if (::pipe(ends) != 0) return errno_status(errno, "pipe");
  UniqueFd read_end(ends[0]), write_end(ends[1]);
  for (int end : ends) {
    if (absl::Status status = set_nonblocking_cloexec(end); !status.ok()) return status;
  }
  if (read_end.get() >= fd_limit) return past_the_limit(read_end.get(), fd_limit);
  return std::unique_ptr<Poller>(
      new SelectPoller(std::move(read_end), std::move(write_end), fd_limit));
}

SelectPoller::SelectPoller(UniqueFd read_end, UniqueFd write_end, int fd_limit)
    : fd_limit_(fd_limit), wake_read_(std::move(read_end)), wake_write_(std::move(write_end)) {
  make_room_for(wake_read_.get());
  watch(wake_read_.get(), PollEvents::kRead);
  events_.reserve(kMaxEventsPerWait);
}

absl::Status SelectPoller::add(int fd, uint32_t interest, uint64_t token, Trigger) {
  if (fd < 0 || !is_open(fd)) {
    return errno_status(EBADF, absl::StrFormat("watching fd %d", fd));
  }
  if (fd >= fd_limit_) return past_the_limit(fd, fd_limit_);
  if (watches(fd) || fd == wake_read_.get()) {
    return absl::AlreadyExistsError(absl::StrFormat("fd %d is watched already", fd));
  }
  make_room_for(fd);
  registrations_[fd] = {token, interest, true};
  watch(fd, interest);
  return absl::OkStatus();
}

absl::Status SelectPoller::modify(int fd, uint32_t interest, uint64_t token, Trigger) {
  if (!watches(fd)) return absl::NotFoundError(absl::StrFormat("fd %d is not watched", fd));
  if (!is_open(fd)) return errno_status(EBADF, absl::StrFormat("watching fd %d", fd));
  registrations_[fd] = {token, interest, true};
  watch(fd, interest);
  return absl::OkStatus();
}

absl::Status SelectPoller::remove(int fd) {
  if (!watches(fd)) return absl::OkStatus();
  registrations_[fd] = {};
  watch(fd, PollEvents::kNone);
  return absl::OkStatus();
}

bool SelectPoller::watches(int fd) const {
  return fd >= 0 && static_cast<size_t>(fd) < registrations_.size() && registrations_[fd].active;
}

// At least doubles, so that fds that come one by one do not copy the sets each time. Never shrinks:
// 17 bytes for each number that the process has used.
void SelectPoller::make_room_for(int fd) {
  if (static_cast<size_t>(fd) < registrations_.size()) return;
  const size_t least = std::max<size_t>(FD_SETSIZE, 2 * registrations_.size());
  const int room = static_cast<int>(
      std::min<size_t>(std::max<size_t>(least, fd + size_t{1}), static_cast<size_t>(fd_limit_)));
  for (FdSet* set : {&read_, &write_, &readable_, &writable_}) set->resize(room);
  registrations_.resize(room);
}

void SelectPoller::watch(int fd, uint32_t interest) {
  read_.erase(fd);
  write_.erase(fd);
  if (interest & PollEvents::kRead) read_.insert(fd);
  if (interest & PollEvents::kWrite) write_.insert(fd);
  watched_limit_ = std::max(watched_limit_, fd + 1);
  // The pipe's end is always in, so this comes to an end.
  while (!read_.contains(watched_limit_ - 1) && !write_.contains(watched_limit_ - 1)) {
    --watched_limit_;
  }
}

absl::Status SelectPoller::reset() {
  registrations_.assign(registrations_.size(), {});
  read_.clear();
  write_.clear();
  watched_limit_ = 0;
  watch(wake_read_.get(), PollEvents::kRead);
  return absl::OkStatus();
}

// One closed fd fails the whole call: it goes, the others stay.
void SelectPoller::forget_closed_fds() {
  const int limit = watched_limit_;
  for (int fd = 0; fd < limit; ++fd) {
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
  readable_ = read_;
  writable_ = write_;
  timespec limit{};
  if (timeout.count() > 0) {
    limit.tv_sec = timeout.count() / 1'000'000'000;
    limit.tv_nsec = timeout.count() % 1'000'000'000;
  }
  const int n = ::pselect(watched_limit_, readable_.get(), writable_.get(), nullptr,
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
  if (readable_.contains(wake_read_.get())) {
    result.woken = true;
    drain_wakes();
    readable_.erase(wake_read_.get());
  }
  collect();
  result.events = events_;
  return result;
}

// Fills in whom to ask what, from scan_start_ on and around, and says how many there are.
size_t SelectPoller::find_ready(pollfd* ready) {
  size_t count = 0;
  const int limit = watched_limit_;
  for (int i = 0; i < limit && count < kMaxEventsPerWait; ++i) {
    const int fd = (scan_start_ + i) % limit;
    if ((readable_.word_of(fd) | writable_.word_of(fd)) == 0) {
      // To the end of an empty word, or of the sets, in one step.
      i += std::min(FdSet::kWordBits - 1 - fd % FdSet::kWordBits, limit - 1 - fd);
      continue;
    }
    if (!readable_.contains(fd) && !writable_.contains(fd)) continue;
    const uint32_t interest = registrations_[fd].interest;
    ready[count++] = {fd,
                      static_cast<short>((interest & PollEvents::kRead ? POLLIN : 0) |
                                         (interest & PollEvents::kWrite ? POLLOUT : 0)),
                      0};
  }
  return count;
}

// select says only readable or writable, for an end or an error too; poll(2) tells which.
void SelectPoller::collect() {
  events_.clear();
  std::array<pollfd, kMaxEventsPerWait> ready;
  const size_t count = find_ready(ready.data());
  if (count == 0) return;
  scan_start_ = ready[count - 1].fd + 1;
  if (::poll(ready.data(), count, 0) <= 0) return;  // level-triggered: the next wait sees it again
  for (size_t i = 0; i < count; ++i) {
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
