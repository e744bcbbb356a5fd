#include "gyre/loop/stall_watchdog.h"

#include <execinfo.h>
#include <signal.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <condition_variable>
#include <thread>
#include <vector>

#include "absl/debugging/symbolize.h"
#include "absl/strings/str_format.h"
#include "gyre/loop/log.h"
#include "gyre/loop/mutex.h"

namespace gyre::internal {
namespace {

constexpr int kStackSignal = SIGURG;
constexpr int kMaxFrames = 48;
constexpr int64_t kReportInterval = 1'000'000'000;  // ns

// What the blocked thread writes in its signal handler. One at a time: the watchdog asks.
struct StackRequest {
  std::array<void*, kMaxFrames> frames{};
  int count = 0;
  std::atomic<bool> wanted{false};
  std::atomic<bool> done{false};
};
constinit StackRequest g_request;

// backtrace(3) goes by the unwind tables, so it needs no frame pointers. Its first call may
// allocate, and is made outside of the handler; after that it does not.
void on_stack_signal(int) {
  if (!g_request.wanted.exchange(false, std::memory_order_acquire)) return;
  const int saved_errno = errno;
  g_request.count = ::backtrace(g_request.frames.data(), kMaxFrames);
  g_request.done.store(true, std::memory_order_release);
  errno = saved_errno;
}

}  // namespace

struct StallWatchdog::State {
  Mutex mutex;
  std::condition_variable_any changed;
  std::vector<StallMonitor*> monitors ABSL_GUARDED_BY(mutex);
  bool running ABSL_GUARDED_BY(mutex) = false;
  struct sigaction former ABSL_GUARDED_BY(mutex);
};

StallWatchdog::State& StallWatchdog::state() {
  // Never destroyed: its thread may run until the process ends.
  static auto* state = new State;
  return *state;
}

void StallWatchdog::watch(StallMonitor& monitor) {
  State& state = StallWatchdog::state();
  MutexLock lock(state.mutex);
  state.monitors.push_back(&monitor);
  if (state.monitors.size() == 1) {
    struct sigaction action {};
    action.sa_handler = &on_stack_signal;
    action.sa_flags = SA_RESTART;
    ::sigaction(kStackSignal, &action, &state.former);
  }
  if (!state.running) {
    state.running = true;
    void* frame;
    ::backtrace(&frame, 1);
    std::thread([&state] { run(state); }).detach();
  }
  state.changed.notify_all();
}

void StallWatchdog::unwatch(StallMonitor& monitor) {
  State& state = StallWatchdog::state();
  MutexLock lock(state.mutex);
  std::erase(state.monitors, &monitor);
  if (state.monitors.empty()) ::sigaction(kStackSignal, &state.former, nullptr);
}

void StallWatchdog::run(State& state) {
  state.mutex.lock();
  for (;;) {
    // Looks twice in the shortest threshold, so that a report comes before the second one is over.
    std::chrono::nanoseconds interval = std::chrono::hours(1);
    for (const StallMonitor* monitor : state.monitors)
      interval = std::min(interval, monitor->threshold() / 2);
    interval = std::max<std::chrono::nanoseconds>(interval, std::chrono::milliseconds(1));
    state.changed.wait_for(state.mutex, interval);
    const int64_t now = StallMonitor::now();
    // Under the lock: unwatch() waits until nobody looks any more.
    for (StallMonitor* monitor : state.monitors) look(*monitor, now);
  }
}

void StallWatchdog::look(StallMonitor& monitor, int64_t now) {
  const int64_t since = monitor.since_.load(std::memory_order_acquire);
  if (since == 0 || since == monitor.reported_ || now - since < monitor.threshold_.count()) return;
  if (now < monitor.next_report_) return;
  monitor.reported_ = since;
  monitor.next_report_ = now + kReportInterval;
  const CallSite site = CallSite::from_word(monitor.site_.load(std::memory_order_relaxed));
  const std::string stack = stack_of(monitor.thread_.load(std::memory_order_relaxed));
  // It may have gone on meanwhile; then the stack is that of a later call, which would mislead.
  if (monitor.since_.load(std::memory_order_acquire) != since) return;
  logf(LogLevel::kWarning,
       "loop %s: a callback, posted at %s, has blocked the loop for %.0f ms, here:%s",
       monitor.loop_name_, site.to_string(), (now - since) / 1e6, stack);
}

std::string StallWatchdog::stack_of(pthread_t thread) {
  constexpr int kTries = 200;
  g_request.done.store(false, std::memory_order_relaxed);
  g_request.wanted.store(true, std::memory_order_release);
  if (::pthread_kill(thread, kStackSignal) != 0) return " (no stack)";
  for (int i = 0; i < kTries && !g_request.done.load(std::memory_order_acquire); ++i) {
    std::this_thread::sleep_for(std::chrono::microseconds(100));
  }
  // Not scheduled for 20 ms, or the signal is blocked there: a handler that comes later writes
  // nothing.
  if (!g_request.done.load(std::memory_order_acquire) &&
      g_request.wanted.exchange(false, std::memory_order_acq_rel)) {
    return " (its stack could not be had)";
  }
  while (!g_request.done.load(std::memory_order_acquire)) std::this_thread::yield();
  std::string text;
  constexpr int kHandlerFrames = 2;  // the handler's, and the kernel's trampoline
  for (int i = kHandlerFrames; i < g_request.count; ++i) {
    char symbol[256];
    const bool known = absl::Symbolize(g_request.frames[i], symbol, sizeof(symbol));
    text += absl::StrFormat("\n    %p %s", g_request.frames[i], known ? symbol : "?");
  }
  return text;
}

}  // namespace gyre::internal
