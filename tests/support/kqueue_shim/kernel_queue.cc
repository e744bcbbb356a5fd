#include "gyre/tests/support/kqueue_shim/kernel_queue.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <memory>

#include "gyre/tests/support/kqueue_shim/descriptor_state.h"
#include "gyre/tests/support/kqueue_shim/fault.h"

namespace gyre::testing {
namespace {

using Clock = std::chrono::steady_clock;

constexpr uint64_t kUserData = UINT64_MAX;

// Readable for ever, and in the epoll set of every queue: modifying it there gives an edge, from
// any thread and in a signal handler. So a queue is one descriptor, as in the kernels, and closing
// it is all.
int g_always_ready = -1;

// Before main(): tests count descriptors.
__attribute__((constructor)) void open_always_ready() {
  g_always_ready = ::eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
}

std::atomic<int> g_add_error{0};
std::atomic<short> g_add_error_filter{0};

// Past ThreadSanitizer: a kernel may look at a descriptor that another thread closes meanwhile, as
// where the last of several loops that share a socket closes it, and the others' EV_DELETEs come
// with their next wait.
int control_epoll(int epoll, int operation, int fd, epoll_event* event) {
  return static_cast<int>(::syscall(SYS_epoll_ctl, epoll, operation, fd, event));
}

epoll_event user_event() {
  epoll_event event{};
  event.events = EPOLLIN | EPOLLET;
  event.data.u64 = kUserData;
  return event;
}

}  // namespace

void fail_next_kevent_add(short filter, int error) {
  g_add_error_filter.store(filter, std::memory_order_relaxed);
  g_add_error.store(error, std::memory_order_relaxed);
}

bool KernelQueue::prepare(int epoll) {
  epoll_event event = user_event();
  return ::epoll_ctl(epoll, EPOLL_CTL_ADD, g_always_ready, &event) == 0;
}

bool KernelQueue::is_open() const { return attached(g_always_ready); }

bool KernelQueue::trigger(uintptr_t ident) {
  for (UserEvent& user : users_) {
    if (!user.exists.load(std::memory_order_acquire) || user.ident != ident) continue;
    user.triggered.store(true, std::memory_order_release);
    epoll_event event = user_event();
    ::epoll_ctl(fd_, EPOLL_CTL_MOD, g_always_ready, &event);
    return true;
  }
  return false;
}

bool KernelQueue::attached(int fd) const {
  epoll_event probe{};
  if (control_epoll(fd_, EPOLL_CTL_ADD, fd, &probe) != 0) return errno == EEXIST;
  control_epoll(fd_, EPOLL_CTL_DEL, fd, nullptr);
  return false;
}

// ---- Changes

int KernelQueue::apply_user(const struct kevent& change) {
  const Key key{change.ident, EVFILT_USER};
  auto user = std::find_if(users_.begin(), users_.end(),
                           [&](const UserEvent& u) { return u.exists && u.ident == change.ident; });
  if (user == users_.end()) {
    if (!(change.flags & EV_ADD)) return ENOENT;
    user = std::find_if(users_.begin(), users_.end(), [](const UserEvent& u) { return !u.exists; });
    if (user == users_.end()) return ENOMEM;
    user->ident = change.ident;
    user->triggered = false;
    user->exists.store(true, std::memory_order_release);
    knotes_[key] = {change, ++last_serial_};
  }
  if (change.flags & EV_DELETE) {
    user->exists = false;
    knotes_.erase(key);
    return 0;
  }
  if (change.fflags & NOTE_TRIGGER) trigger(change.ident);
  update(key, change);
  return 0;
}

int KernelQueue::apply_file(const struct kevent& change) {
  if (change.filter != EVFILT_READ && change.filter != EVFILT_WRITE) return EINVAL;
  const int fd = static_cast<int>(change.ident);
  if (::fcntl(fd, F_GETFD) == -1) return EBADF;
  forget_closed(change.ident);
  const Key key{change.ident, change.filter};
  if (find(key) == nullptr) {
    if (!(change.flags & EV_ADD)) return ENOENT;
    if (const int error = attach(change); error != 0) return error;
  }
  if (change.flags & EV_DELETE) {
    knotes_.erase(key);
    if (knotes_.lower_bound({change.ident, EVFILT_WRITE}) ==
        knotes_.upper_bound({change.ident, EVFILT_READ})) {
      control_epoll(fd_, EPOLL_CTL_DEL, fd, nullptr);
    }
    return 0;
  }
  update(key, change);
  return 0;
}

int KernelQueue::attach(const struct kevent& change) {
  if (change.filter == g_add_error_filter.load(std::memory_order_relaxed)) {
    if (const int error = g_add_error.exchange(0, std::memory_order_relaxed)) return error;
  }
  const int fd = static_cast<int>(change.ident);
  const DescriptorKind kind = kind_of(fd);
  // "Other end of pipe has been closed" (pipe_kqfilter in sys/kern/sys_pipe.c of FreeBSD).
  if (kind == DescriptorKind::kPipe && change.filter == EVFILT_WRITE &&
      write_filter_state(fd, kind).ended) {
    return EPIPE;
  }
  epoll_event event{};
  event.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
  event.data.u64 = change.ident;
  if (control_epoll(fd_, EPOLL_CTL_ADD, fd, &event) != 0 && errno != EEXIST) {
    return errno == EPERM ? EINVAL : errno;
  }
  Knote knote{change, ++last_serial_};
  knote.kevent.flags &= EV_ONESHOT | EV_CLEAR | EV_DISPATCH;
  knotes_[{change.ident, change.filter}] = knote;
  return 0;
}

// What EV_ADD does to a kevent that is there already, and EV_ENABLE and EV_DISABLE to any.
void KernelQueue::update(const Key& key, const struct kevent& change) {
  Knote& knote = knotes_[key];
  knote.kevent.udata = change.udata;
  if (change.flags & EV_DISABLE) {
    knote.disabled = true;
  } else if (change.flags & (EV_ADD | EV_ENABLE)) {
    knote.disabled = false;
    if (knote.active) enqueue(key, knote);
  }
  if (evaluate(knote)) activate(key);
}

void KernelQueue::forget_closed(uintptr_t fd) {
  const bool known = find({fd, EVFILT_READ}) != nullptr || find({fd, EVFILT_WRITE}) != nullptr;
  if (!known || attached(static_cast<int>(fd))) return;
  knotes_.erase({fd, EVFILT_READ});
  knotes_.erase({fd, EVFILT_WRITE});
}

// ---- Events

void KernelQueue::activate(const Key& key) {
  Knote* knote = find(key);
  if (knote == nullptr) return;
  knote->active = true;
  if (!knote->disabled) enqueue(key, *knote);
}

void KernelQueue::enqueue(const Key& key, Knote& knote) {
  if (std::exchange(knote.queued, true)) return;
  queue_.emplace_back(key, knote.serial);
}

void KernelQueue::take_activations() {
  std::array<epoll_event, 256> ready;
  int n;
  do {
    n = ::epoll_wait(fd_, ready.data(), ready.size(), 0);
    for (int i = 0; i < n; ++i) {
      const uintptr_t fd = ready[i].data.u64;
      if (ready[i].data.u64 == kUserData) continue;
      const uint32_t end = EPOLLHUP | EPOLLERR;
      if (ready[i].events & (EPOLLIN | EPOLLRDHUP | end)) activate({fd, EVFILT_READ});
      if (ready[i].events & (EPOLLOUT | end)) activate({fd, EVFILT_WRITE});
    }
  } while (n == static_cast<int>(ready.size()));
  for (UserEvent& user : users_) {
    if (user.triggered.exchange(false, std::memory_order_acquire)) {
      activate({user.ident, EVFILT_USER});
    }
  }
}

// Asks the filter, and fills in what it says.
bool KernelQueue::evaluate(Knote& knote) {
  if (knote.kevent.filter == EVFILT_USER) return knote.active;
  const int fd = static_cast<int>(knote.kevent.ident);
  const DescriptorKind kind = kind_of(fd);
  const bool reads = knote.kevent.filter == EVFILT_READ;
  const FilterState state = reads ? read_filter_state(fd, kind) : write_filter_state(fd, kind);
  knote.kevent.flags &= ~EV_EOF;
  if (state.ended) knote.kevent.flags |= EV_EOF;
  // pipeclose() of FreeBSD clears the list of those that wait to write (knlist_clear).
  if (state.ended && !reads && kind == DescriptorKind::kPipe) knote.kevent.flags |= EV_ONESHOT;
  knote.kevent.fflags = state.error;
  knote.kevent.data = state.data;
  return state.ready;
}

int KernelQueue::scan(struct kevent* events, int count) {
  int returned = 0;
  scanned_.swap(queue_);
  size_t looked_at = 0;
  for (; looked_at < scanned_.size() && returned < count; ++looked_at) {
    const auto [key, serial] = scanned_[looked_at];
    Knote* knote = find(key);
    if (knote == nullptr || knote->serial != serial) continue;
    knote->queued = false;
    if (knote->disabled) continue;
    if (key.second != EVFILT_USER) {
      forget_closed(key.first);
      knote = find(key);
      if (knote == nullptr) continue;
    }
    knote->active = evaluate(*knote);
    if (!knote->active) continue;
    events[returned++] = knote->kevent;
    if (knote->kevent.flags & EV_ONESHOT) {
      knotes_.erase(key);
      continue;
    }
    if (knote->kevent.flags & EV_CLEAR) knote->active = false;
    if (knote->kevent.flags & EV_DISPATCH) knote->disabled = true;
    if (knote->active && !knote->disabled) enqueue(key, *knote);
  }
  queue_.insert(queue_.begin(), scanned_.begin() + looked_at, scanned_.end());
  scanned_.clear();
  return returned;
}

int KernelQueue::wait(struct kevent* events, int count, const timespec* timeout) {
  Clock::time_point deadline = Clock::time_point::max();
  if (timeout != nullptr) {
    deadline = Clock::now() + std::chrono::seconds(timeout->tv_sec) +
               std::chrono::nanoseconds(timeout->tv_nsec);
  }
  while (true) {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      take_activations();
      if (const int n = scan(events, count); n > 0) return n;
    }
    timespec rest{};
    if (timeout != nullptr) {
      const std::chrono::nanoseconds left = deadline - Clock::now();
      if (left.count() <= 0) return 0;
      rest = {left.count() / 1'000'000'000, left.count() % 1'000'000'000};
    }
    pollfd self{fd_, POLLIN, 0};
    if (::ppoll(&self, 1, timeout != nullptr ? &rest : nullptr, nullptr) < 0) return -1;
  }
}

}  // namespace gyre::testing
