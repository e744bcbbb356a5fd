// The double of kqueue(2) that include/sys/event.h describes, over epoll(7).
//
// It works as the kernels do (kern_event.c): a kevent is active from the moment that its filter
// fires; a scan asks the filters of the active ones again, and returns those that still hold. epoll
// is the source of the activations, always edge-triggered; what level means is made here, by
// staying active.

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/event.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "gyre/tests/support/kqueue_shim/descriptor_state.h"
#include "gyre/tests/support/kqueue_shim/fault.h"

namespace gyre::testing {
namespace {

using Clock = std::chrono::steady_clock;

constexpr uint64_t kUserData = UINT64_MAX;
constexpr int kMaxQueues = 1 << 16;
constexpr int kNothingToReturn = -2;

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
std::atomic<int> g_calls{0};

// Past ThreadSanitizer: a kernel may look at a descriptor that another thread closes meanwhile, as
// where the last of several loops that share a socket closes it, and the others' EV_DELETEs come
// with their next wait.
int control_epoll(int epoll, int operation, int fd, epoll_event* event) {
  return static_cast<int>(::syscall(SYS_epoll_ctl, epoll, operation, fd, event));
}

// What the kernel has of its own: no operator new, which tests count.
template <class T>
struct KernelMemory {
  using value_type = T;

  KernelMemory() = default;
  template <class U>
  KernelMemory(const KernelMemory<U>&) {}

  T* allocate(size_t count) {
    void* memory = std::malloc(count * sizeof(T));
    if (memory == nullptr) std::abort();
    return static_cast<T*>(memory);
  }
  void deallocate(T* memory, size_t) { std::free(memory); }
  bool operator==(const KernelMemory&) const { return true; }
};

class Queue {
 public:
  explicit Queue(int fd) : fd_(fd) {}

  // After the last call, on whatever thread that was.
  void settle() { std::lock_guard<std::mutex> lock(mutex_); }

  // False: the number was closed, and maybe reused.
  bool is_open() const { return attached(g_always_ready); }

  // Signal-safe.
  bool trigger(uintptr_t ident) {
    for (UserEvent& user : users_) {
      if (!user.exists.load(std::memory_order_acquire) || user.ident != ident) continue;
      user.triggered.store(true, std::memory_order_release);
      epoll_event event = user_event();
      ::epoll_ctl(fd_, EPOLL_CTL_MOD, g_always_ready, &event);
      return true;
    }
    return false;
  }

  int apply(struct kevent change) {
    std::lock_guard<std::mutex> lock(mutex_);
    return change.filter == EVFILT_USER ? apply_user(change) : apply_file(change);
  }

  int wait(struct kevent* events, int count, const timespec* timeout);

 private:
  using Key = std::pair<uintptr_t, short>;

  struct Knote {
    struct kevent kevent;
    uint64_t serial;
    bool active = false;
    bool disabled = false;
    bool queued = false;
  };

  // Apart from the knotes, which a signal handler must not touch.
  struct UserEvent {
    std::atomic<bool> exists{false};
    std::atomic<bool> triggered{false};
    uintptr_t ident = 0;
  };

  static epoll_event user_event() {
    epoll_event event{};
    event.events = EPOLLIN | EPOLLET;
    event.data.u64 = kUserData;
    return event;
  }

  // Whether the file that has this number now is in the epoll set: epoll knows files, not numbers.
  bool attached(int fd) const {
    epoll_event probe{};
    if (control_epoll(fd_, EPOLL_CTL_ADD, fd, &probe) != 0) return errno == EEXIST;
    control_epoll(fd_, EPOLL_CTL_DEL, fd, nullptr);
    return false;
  }

  Knote* find(const Key& key) {
    auto it = knotes_.find(key);
    return it == knotes_.end() ? nullptr : &it->second;
  }

  int apply_user(const struct kevent& change);
  int apply_file(const struct kevent& change);
  int attach(const struct kevent& change);
  void update(const Key& key, const struct kevent& change);
  void forget_closed(uintptr_t fd);
  void activate(const Key& key);
  void enqueue(const Key& key, Knote& knote);
  void take_activations();
  bool evaluate(Knote& knote);
  int scan(struct kevent* events, int count);

  const int fd_;
  std::mutex mutex_;
  std::map<Key, Knote, std::less<Key>, KernelMemory<std::pair<const Key, Knote>>> knotes_;
  // Those that are active, in turn; and where a scan keeps them, so that in the long run it needs
  // no memory: tests count allocations.
  std::vector<std::pair<Key, uint64_t>> queue_;
  std::vector<std::pair<Key, uint64_t>> scanned_;
  uint64_t last_serial_ = 0;
  std::array<UserEvent, 4> users_;
};

// Never freed while the program runs: a signal handler may be in one.
std::atomic<Queue*> g_queues[kMaxQueues];

Queue* find_queue(int fd) {
  return fd >= 0 && fd < kMaxQueues ? g_queues[fd].load(std::memory_order_acquire) : nullptr;
}

// "The queue is not inherited by a child created with fork" (kqueue(2)).
void close_queues_of_parent() {
  for (int fd = 0; fd < kMaxQueues; ++fd) {
    Queue* queue = g_queues[fd].exchange(nullptr, std::memory_order_relaxed);
    if (queue != nullptr && queue->is_open()) ::close(fd);
  }
}

// ---- Changes

int Queue::apply_user(const struct kevent& change) {
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

int Queue::apply_file(const struct kevent& change) {
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

int Queue::attach(const struct kevent& change) {
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
void Queue::update(const Key& key, const struct kevent& change) {
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

void Queue::forget_closed(uintptr_t fd) {
  const bool known = find({fd, EVFILT_READ}) != nullptr || find({fd, EVFILT_WRITE}) != nullptr;
  if (!known || attached(static_cast<int>(fd))) return;
  knotes_.erase({fd, EVFILT_READ});
  knotes_.erase({fd, EVFILT_WRITE});
}

// ---- Events

void Queue::activate(const Key& key) {
  Knote* knote = find(key);
  if (knote == nullptr) return;
  knote->active = true;
  if (!knote->disabled) enqueue(key, *knote);
}

void Queue::enqueue(const Key& key, Knote& knote) {
  if (std::exchange(knote.queued, true)) return;
  queue_.emplace_back(key, knote.serial);
}

void Queue::take_activations() {
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
bool Queue::evaluate(Knote& knote) {
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

int Queue::scan(struct kevent* events, int count) {
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

int Queue::wait(struct kevent* events, int count, const timespec* timeout) {
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

// The errors and receipts of the changes: how many were returned, or -1 and errno.
int apply_changes(Queue& queue, const struct kevent* changes, int change_count,
                  struct kevent* events, int event_count) {
  int returned = 0;
  for (int i = 0; i < change_count; ++i) {
    const struct kevent change = changes[i];  // `events` may be the same list
    const int error = queue.apply(change);
    if (error == 0 && !(change.flags & EV_RECEIPT)) continue;
    if (returned == event_count) {
      errno = error;
      return error == 0 ? returned : -1;
    }
    events[returned] = change;
    events[returned].flags = EV_ERROR;
    events[returned++].data = error;
  }
  return returned > 0 ? returned : kNothingToReturn;
}

}  // namespace

void fail_next_kevent_add(short filter, int error) {
  g_add_error_filter.store(filter, std::memory_order_relaxed);
  g_add_error.store(error, std::memory_order_relaxed);
}

int kevent_calls() { return g_calls.load(std::memory_order_relaxed); }

}  // namespace gyre::testing

using gyre::testing::Queue;

int kqueue() {
  static const int registered =
      ::pthread_atfork(nullptr, nullptr, &gyre::testing::close_queues_of_parent);
  static_cast<void>(registered);
  const int fd = ::epoll_create1(0);
  if (fd < 0) return -1;
  epoll_event user{};
  user.events = EPOLLIN | EPOLLET;
  user.data.u64 = gyre::testing::kUserData;
  if (fd >= gyre::testing::kMaxQueues ||
      ::epoll_ctl(fd, EPOLL_CTL_ADD, gyre::testing::g_always_ready, &user) != 0) {
    ::close(fd);
    errno = ENFILE;
    return -1;
  }
  auto* const old = gyre::testing::g_queues[fd].exchange(new Queue(fd), std::memory_order_acq_rel);
  if (old != nullptr) old->settle();  // another thread closed the number
  delete old;
  return fd;
}

int kevent(int fd, const struct kevent* changes, int change_count, struct kevent* events,
           int event_count, const timespec* timeout) {
  Queue* const queue = gyre::testing::find_queue(fd);
  if (queue == nullptr) {
    errno = EBADF;
    return -1;
  }
  // The way of a wake-up: no lock, no memory.
  if (change_count == 1 && event_count == 0 && changes->filter == EVFILT_USER &&
      changes->flags == 0 && changes->fflags == NOTE_TRIGGER) {
    if (queue->trigger(changes->ident)) return 0;
    errno = ENOENT;
    return -1;
  }
  gyre::testing::g_calls.fetch_add(1, std::memory_order_relaxed);
  if (!queue->is_open()) {
    errno = EBADF;
    return -1;
  }
  if (change_count < 0 || event_count < 0 ||
      (timeout != nullptr &&
       (timeout->tv_sec < 0 || timeout->tv_nsec < 0 || timeout->tv_nsec >= 1'000'000'000))) {
    errno = EINVAL;
    return -1;
  }
  const int n = gyre::testing::apply_changes(*queue, changes, change_count, events, event_count);
  if (n != gyre::testing::kNothingToReturn) return n;
  return event_count > 0 ? queue->wait(events, event_count, timeout) : 0;
}
