#ifndef GYRE_TESTS_SUPPORT_KQUEUE_SHIM_KERNEL_QUEUE_H_
#define GYRE_TESTS_SUPPORT_KQUEUE_SHIM_KERNEL_QUEUE_H_

#include <sys/event.h>
#include <time.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <map>
#include <mutex>
#include <utility>
#include <vector>

namespace gyre::testing {

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

// A queue of the double of kqueue(2), over an epoll set. It works as the kernels do (kern_event.c):
// a kevent is active from the moment that its filter fires; a scan asks the filters of the active
// ones again, and returns those that still hold. epoll is the source of the activations, always
// edge-triggered; what level means is made here, by staying active.
class KernelQueue {
 public:
  explicit KernelQueue(int fd) : fd_(fd) {}

  // Has an epoll set be one that the queue can use. False: errno.
  static bool prepare(int epoll);

  // After the last call, on whatever thread that was.
  void settle() { std::lock_guard<std::mutex> lock(mutex_); }

  // False: the number was closed, and maybe reused.
  bool is_open() const;

  // Signal-safe.
  bool trigger(uintptr_t ident);

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

  // Whether the file that has this number now is in the epoll set: epoll knows files, not numbers.
  bool attached(int fd) const;

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

}  // namespace gyre::testing

#endif  // GYRE_TESTS_SUPPORT_KQUEUE_SHIM_KERNEL_QUEUE_H_
