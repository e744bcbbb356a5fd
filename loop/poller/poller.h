#ifndef GYRE_LOOP_POLLER_POLLER_H_
#define GYRE_LOOP_POLLER_POLLER_H_

#include <chrono>
#include <cstdint>
#include <span>
#include <string_view>

#include "absl/status/status.h"
#include "gyre/loop/callback_queue.h"

namespace gyre {

// What a file descriptor is ready for, or is to be watched for. The values are Tornado's, which are
// epoll's.
struct PollEvents {
  static constexpr uint32_t kNone = 0;
  static constexpr uint32_t kRead = 0x001;
  static constexpr uint32_t kWrite = 0x004;
  static constexpr uint32_t kError = 0x018;
  // Only for an edge-triggered registration that asks for it: the peer will send nothing more, so
  // that a short read is not the last. The value is EPOLLRDHUP's.
  static constexpr uint32_t kPeerEnded = 0x2000;
};

// How a registration reports.
enum class Trigger : uint8_t {
  kLevel,  // as long as the fd is ready
  kEdge,   // once for each time that it becomes so
  // As kLevel, but where several pollers watch the same file (a listening socket), the kernel wakes
  // one of those that sleep, or a few, and not all (EPOLLEXCLUSIVE).
  kExclusive,
};

// One kernel interface that waits for many file descriptors. It knows fds, masks and tokens, and
// nothing of the loop. What each backend does is brought to the same contract:
//
//   - level-triggered, unless kEdge is asked for where supports_edge();
//   - one event per fd and wait, with READ, WRITE and ERROR together;
//   - an event has what was asked for, plus ERROR: a hang-up or an error is ERROR, and READ and
//     WRITE as far as they are watched, so that a reader sees the end and a writer the errno;
//   - a peer that shut down its sending side only is READ, not ERROR;
//   - with no interest at all, ERROR comes at most once, or (select) never: it would spin;
//   - an fd that was closed without remove() disturbs no other.
//
// Not thread-safe, but for wake().
class Poller : public internal::Waker {
 public:
  // `token` is what the fd was registered with.
  struct Event {
    uint64_t token;
    uint32_t events;
  };

  struct WaitResult {
    std::span<const Event> events;  // valid until the next call
    bool woken = false;             // by wake(); a wake-up may also be seen late, or twice
    int error = 0;                  // errno of a failure that will not go away by itself
  };

  // What is in a wait at most; the rest comes with the next.
  static constexpr int kMaxEventsPerWait = 512;

  virtual ~Poller() = default;

  virtual std::string_view name() const = 0;
  virtual bool supports_edge() const { return false; }
  // Without it kExclusive is not to be asked for.
  virtual bool supports_exclusive() const { return false; }

  // Fails with AlreadyExists, InvalidArgument (a closed fd, or one that cannot be watched) or
  // ResourceExhausted, with errno's text. A failed call changes nothing.
  virtual absl::Status add(int fd, uint32_t interest, uint64_t token, Trigger trigger) = 0;
  // Replaces interest and token.
  virtual absl::Status modify(int fd, uint32_t interest, uint64_t token, Trigger trigger) = 0;
  // An fd that was closed before is forgotten; that is no error.
  virtual absl::Status remove(int fd) = 0;

  // remove() for an fd that the caller closes next, whatever happens: where closing is all that it
  // takes, a system call is saved. As long as a copy of the fd (dup, fork) is open epoll goes on
  // reporting it; see reset().
  virtual void remove_closing(int fd) { remove(fd).IgnoreError(); }

  // Waits until an fd is ready, wake() is called or the time is over. Zero: looks once. Negative:
  // no limit. May return early, with nothing (a signal). Never returns before the time is over
  // because of rounding: deadlines of less than the backend's resolution are rounded up.
  virtual WaitResult wait(std::chrono::nanoseconds timeout) = 0;

  // The same for a caller who has no fd registered, so that only wake() and the time end it; a
  // signal may. With zero there is nothing to look at. A backend that has a cheaper way takes it.
  virtual WaitResult wait_for_wake(std::chrono::nanoseconds timeout) { return wait(timeout); }

  // Forgets every registration, also those that remove() cannot reach: epoll reports a file as long
  // as a copy of its fd (dup, fork) is open, under the number that was closed. What is still wanted
  // has to be added again. After a failure nothing has changed. A backend that always reaches them
  // need not have it.
  virtual absl::Status reset() { return absl::UnimplementedError("reset"); }

  // Ends a wait that is going on, or the next one. Any thread. Signal-safe.
  void wake() noexcept override = 0;
};

}  // namespace gyre

#endif  // GYRE_LOOP_POLLER_POLLER_H_
