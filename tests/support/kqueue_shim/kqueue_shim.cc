// The double of kqueue(2) that include/sys/event.h describes, over epoll(7): its two calls. What
// they do is in kernel_queue.h.

#include <pthread.h>
#include <sys/epoll.h>
#include <sys/event.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>

#include "gyre/tests/support/kqueue_shim/fault.h"
#include "gyre/tests/support/kqueue_shim/kernel_queue.h"

namespace gyre::testing {
namespace {

constexpr int kMaxQueues = 1 << 16;
constexpr int kNothingToReturn = -2;

std::atomic<int> g_calls{0};

// Never freed while the program runs: a signal handler may be in one.
std::atomic<KernelQueue*> g_queues[kMaxQueues];

KernelQueue* find_queue(int fd) {
  return fd >= 0 && fd < kMaxQueues ? g_queues[fd].load(std::memory_order_acquire) : nullptr;
}

// "The queue is not inherited by a child created with fork" (kqueue(2)).
void close_queues_of_parent() {
  for (int fd = 0; fd < kMaxQueues; ++fd) {
    KernelQueue* queue = g_queues[fd].exchange(nullptr, std::memory_order_relaxed);
    if (queue != nullptr && queue->is_open()) ::close(fd);
  }
}

// The errors and receipts of the changes: how many were returned, or -1 and errno.
int apply_changes(KernelQueue& queue, const struct kevent* changes, int change_count,
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

int kevent_calls() { return g_calls.load(std::memory_order_relaxed); }

}  // namespace gyre::testing

using gyre::testing::KernelQueue;

int kqueue() {
  static const int registered =
      ::pthread_atfork(nullptr, nullptr, &gyre::testing::close_queues_of_parent);
  static_cast<void>(registered);
  const int fd = ::epoll_create1(0);
  if (fd < 0) return -1;
  if (fd >= gyre::testing::kMaxQueues || !KernelQueue::prepare(fd)) {
    ::close(fd);
    errno = ENFILE;
    return -1;
  }
  auto* const old =
      gyre::testing::g_queues[fd].exchange(new KernelQueue(fd), std::memory_order_acq_rel);
  if (old != nullptr) old->settle();  // another thread closed the number
  delete old;
  return fd;
}

int kevent(int fd, const struct kevent* changes, int change_count, struct kevent* events,
           int event_count, const timespec* timeout) {
  KernelQueue* const queue = gyre::testing::find_queue(fd);
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
