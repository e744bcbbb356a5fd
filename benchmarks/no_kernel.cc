// What a server costs in user space alone. Loaded in front of the C library (LD_PRELOAD) it lets a
// server accept connections for real; once the server's epoll holds GYRE_NO_KERNEL_CONNECTIONS of
// them, the kernel is out of it: epoll_wait says that every connection has a request, recv copies
// one, send takes the answer, and the thread's CPU time for each request is written to
// GYRE_NO_KERNEL_OUTPUT at the end. What it costs itself is in there too, the same for each server.
//
//   GYRE_NO_KERNEL_CONNECTIONS  100
//   GYRE_NO_KERNEL_REQUESTS     how many to measure; 2,000,000
//   GYRE_NO_KERNEL_REQUEST      what a request is; 64 bytes of "r"
//
// A server that waits with epoll_wait(2) or epoll_pwait2(2), one thread, no reads beyond a short
// one that it does not expect to be told EAGAIN.

#include <dlfcn.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace {

constexpr int kMostFds = 4096;
constexpr int kWarmUpRounds = 100;

template <class F>
F* next(const char* name) {
  return reinterpret_cast<F*>(::dlsym(RTLD_NEXT, name));
}

long number_from(const char* variable, long fallback) {
  const char* text = std::getenv(variable);
  return text != nullptr ? std::atol(text) : fallback;
}

// Of a connection that the server watches.
struct Watched {
  int epoll;  // 0: not watched; an epoll is never fd 0 here
  epoll_data_t data;
};

// All that is decided at the start, and what is counted. Plain memory: one thread serves, and the
// others only set it up.
struct State {
  Watched watched[kMostFds];
  bool accepted[kMostFds];
  bool has_request[kMostFds];
  bool ours[kMostFds];             // the kernel is out of it
  std::atomic<int> serving_epoll;  // 0 as long as the kernel is in it
  int order[kMostFds];             // the connections of that epoll
  int connections;
  int rounds;
  long wanted, measured, receives, waits;
  int64_t begun;
  char request[16 * 1024];
  size_t request_bytes;
};
State g;

int64_t thread_time() {
  timespec time{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return time.tv_sec * 1000000000LL + time.tv_nsec;
}

void read_settings() {
  if (g.wanted != 0) return;
  g.wanted = number_from("GYRE_NO_KERNEL_REQUESTS", 2000000);
  const char* request = std::getenv("GYRE_NO_KERNEL_REQUEST");
  if (request != nullptr) {
    g.request_bytes = std::min(std::strlen(request), sizeof(g.request));
    std::memcpy(g.request, request, g.request_bytes);
  } else {
    g.request_bytes = 64;
    std::memset(g.request, 'r', g.request_bytes);
  }
}

// The server has what it needs: from now on its epoll is ours.
void take_over_if_complete(int epoll) {
  const long wanted = number_from("GYRE_NO_KERNEL_CONNECTIONS", 100);
  int count = 0;
  for (int fd = 0; fd < kMostFds; ++fd) {
    if (g.accepted[fd] && g.watched[fd].epoll == epoll) g.order[count++] = fd;
  }
  if (count < wanted || epoll <= 0) return;
  read_settings();
  g.connections = count;
  for (int i = 0; i < count; ++i) g.ours[g.order[i]] = true;
  g.serving_epoll.store(epoll, std::memory_order_release);
}

[[noreturn]] void report() {
  const int64_t spent = thread_time() - g.begun;
  const char* path = std::getenv("GYRE_NO_KERNEL_OUTPUT");
  std::FILE* file = path != nullptr ? std::fopen(path, "w") : stderr;
  if (file != nullptr) {
    std::fprintf(file, "{\"ns_per_request\": %.2f, \"receives\": %.3f, \"waits\": %.5f}\n",
                 static_cast<double>(spent) / static_cast<double>(g.measured),
                 static_cast<double>(g.receives) / static_cast<double>(g.measured),
                 static_cast<double>(g.waits) / static_cast<double>(g.measured));
    std::fflush(file);
  }
  ::_exit(0);
}

// A round: every connection has a request.
int next_round(epoll_event* events, int most) {
  if (g.rounds == kWarmUpRounds) {
    g.measured = g.receives = g.waits = 0;
    g.begun = thread_time();
  }
  ++g.rounds;
  ++g.waits;
  if (g.rounds > kWarmUpRounds && g.measured >= g.wanted) report();
  const int count = std::min(most, g.connections);
  for (int i = 0; i < count; ++i) {
    const int fd = g.order[i];
    g.has_request[fd] = true;
    events[i].events = EPOLLIN;
    events[i].data = g.watched[fd].data;
  }
  g.measured += count;
  return count;
}

bool ours(int fd) { return static_cast<unsigned>(fd) < kMostFds && g.ours[fd]; }

ssize_t receive(int fd, void* buffer, size_t size) {
  ++g.receives;
  if (!g.has_request[fd]) {
    errno = EAGAIN;
    return -1;
  }
  g.has_request[fd] = false;
  const size_t n = std::min(size, g.request_bytes);
  std::memcpy(buffer, g.request, n);
  return static_cast<ssize_t>(n);
}

}  // namespace

extern "C" {

int accept4(int listener, sockaddr* address, socklen_t* length, int flags) {
  static auto* const real = next<int(int, sockaddr*, socklen_t*, int)>("accept4");
  const int fd = real(listener, address, length, flags);
  if (fd >= 0 && fd < kMostFds) g.accepted[fd] = true;
  return fd;
}

int epoll_ctl(int epoll, int operation, int fd, epoll_event* event) noexcept {
  static auto* const real = next<int(int, int, int, epoll_event*)>("epoll_ctl");
  const int result = real(epoll, operation, fd, event);
  if (result == 0 && operation == EPOLL_CTL_ADD && fd < kMostFds) {
    g.watched[fd] = {epoll, event->data};
    if (g.accepted[fd]) take_over_if_complete(epoll);
  }
  return result;
}

int epoll_wait(int epoll, epoll_event* events, int most, int timeout) {
  static auto* const real = next<int(int, epoll_event*, int, int)>("epoll_wait");
  if (epoll == g.serving_epoll.load(std::memory_order_acquire)) return next_round(events, most);
  return real(epoll, events, most, timeout);
}

int epoll_pwait2(int epoll, epoll_event* events, int most, const timespec* timeout,
                 const sigset_t* mask) {
  static auto* const real =
      next<int(int, epoll_event*, int, const timespec*, const sigset_t*)>("epoll_pwait2");
  if (epoll == g.serving_epoll.load(std::memory_order_acquire)) return next_round(events, most);
  return real(epoll, events, most, timeout, mask);
}

// In older C libraries epoll_pwait2(2) has no function of its own.
long syscall(long number, ...) noexcept {
  static auto* const real = next<long(long, ...)>("syscall");
  std::va_list list;
  va_start(list, number);
  long arguments[6];
  for (long& argument : arguments) argument = va_arg(list, long);
  va_end(list);
#if defined(SYS_epoll_pwait2)
  if (number == SYS_epoll_pwait2 &&
      arguments[0] == g.serving_epoll.load(std::memory_order_acquire)) {
    return next_round(reinterpret_cast<epoll_event*>(arguments[1]), static_cast<int>(arguments[2]));
  }
#endif
  return real(number, arguments[0], arguments[1], arguments[2], arguments[3], arguments[4],
              arguments[5]);
}

ssize_t recv(int fd, void* buffer, size_t size, int flags) {
  static auto* const real = next<ssize_t(int, void*, size_t, int)>("recv");
  return ours(fd) ? receive(fd, buffer, size) : real(fd, buffer, size, flags);
}

ssize_t send(int fd, const void* buffer, size_t size, int flags) {
  static auto* const real = next<ssize_t(int, const void*, size_t, int)>("send");
  return ours(fd) ? static_cast<ssize_t>(size) : real(fd, buffer, size, flags);
}

}  // extern "C"
