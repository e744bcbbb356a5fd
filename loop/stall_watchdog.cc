#include "gyre/loop/stall_watchdog.h"

#include <execinfo.h>
#include <signal.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <condition_variable>
#include <memory>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "absl/debugging/symbolize.h"
#include "absl/strings/str_format.h"
#include "gyre/loop/fork_detection.h"
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
  std::atomic<pthread_t> thread{};  // of another one a late signal may still be on its way
  std::atomic<bool> wanted{false};
  std::atomic<bool> done{false};
};
constinit StackRequest g_request;

// backtrace(3) goes by the unwind tables, so it needs no frame pointers. Its first call may
// allocate, and is made outside of the handler; after that it does not.
void on_stack_signal(int) {
  if (!::pthread_equal(g_request.thread.load(std::memory_order_relaxed), ::pthread_self())) return;
  if (!g_request.wanted.exchange(false, std::memory_order_acquire)) return;
  const int saved_errno = errno;
  g_request.count = ::backtrace(g_request.frames.data(), kMaxFrames);
  g_request.done.store(true, std::memory_order_release);
  errno = saved_errno;
}

}  // namespace

struct StallWatchdog::State {
  const uint32_t generation = fork_generation();
  Mutex mutex;
  std::condition_variable_any changed;
  std::vector<StallMonitor*> monitors ABSL_GUARDED_BY(mutex);
  bool running ABSL_GUARDED_BY(mutex) = false;
  std::thread::id thread ABSL_GUARDED_BY(mutex);  // that runs
  struct sigaction former ABSL_GUARDED_BY(mutex);
};

// Never destroyed: its thread may run until the process ends. A child of fork() has no such thread,
// and the lock may be taken for ever there: it begins anew.
StallWatchdog::State& StallWatchdog::state() {
  static constinit std::atomic<State*> current{nullptr};
  State* state = current.load(std::memory_order_acquire);
  while (state == nullptr || state->generation != fork_generation()) {
    auto fresh = std::make_unique<State>();
    if (current.compare_exchange_strong(state, fresh.get(), std::memory_order_acq_rel,
                                        std::memory_order_acquire)) {
      state = fresh.release();
    }
  }
  return *state;
}

void StallWatchdog::watch(StallMonitor& monitor) {
  const std::string failure = add(monitor);
  // Without the lock: the sink is the program's.
  if (!failure.empty()) {
    logf(LogLevel::kWarning,
         "blocked loops are logged late and without a stack, for want of a thread: %s", failure);
  }
}

// Why no thread looks at it; the next call tries again to have one. Empty: one does.
std::string StallWatchdog::add(StallMonitor& monitor) {
  State& state = StallWatchdog::state();
  std::string failure;
  MutexLock lock(state.mutex);
  state.monitors.push_back(&monitor);
  if (state.monitors.size() == 1) {
    struct sigaction action {};
    action.sa_handler = &on_stack_signal;
    action.sa_flags = SA_RESTART;
    ::sigaction(kStackSignal, &action, &state.former);
  }
  if (!state.running) {
    void* frame;
    ::backtrace(&frame, 1);
    // The program's signals are for its own threads: whoever starts this one blocks them meanwhile.
    sigset_t all, before;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before);
#if defined(__cpp_exceptions)
    try {
#endif
      std::thread([&state] { run(state); }).detach();
      state.running = true;
#if defined(__cpp_exceptions)
    } catch (const std::system_error& error) {
      failure = error.what();
    }
#endif
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  }
  state.changed.notify_all();
  return failure;
}

void StallWatchdog::unwatch(StallMonitor& monitor) {
  State& state = StallWatchdog::state();
  MutexLock lock(state.mutex);
  // What is being said of it is said before the return; unless it is the sink that calls.
  while (monitor.reporting_ && state.thread != std::this_thread::get_id()) {
    state.changed.wait(state.mutex);
  }
  std::erase(state.monitors, &monitor);
  if (state.monitors.empty()) ::sigaction(kStackSignal, &state.former, nullptr);
}

void StallWatchdog::run(State& state) {
  state.mutex.lock();
  state.thread = std::this_thread::get_id();
  for (;;) {
    // Looks twice in the shortest threshold, so that a report comes before the second one is over.
    std::chrono::nanoseconds interval = std::chrono::hours(1);
    for (const StallMonitor* monitor : state.monitors)
      interval = std::min(interval, monitor->threshold() / 2);
    interval = std::max<std::chrono::nanoseconds>(interval, std::chrono::milliseconds(1));
    state.changed.wait_for(state.mutex, interval);
    std::vector<std::string> reports;
    // Under the lock: unwatch() waits until nobody looks any more.
    for (StallMonitor* monitor : state.monitors) {
      std::string report = look(*monitor, StallMonitor::now());
      if (report.empty()) continue;
      monitor->reporting_ = true;
      reports.push_back(std::move(report));
    }
    if (reports.empty()) continue;
    // Without it: the sink is the program's.
    state.mutex.unlock();
    for (const std::string& report : reports) logf(LogLevel::kWarning, "%s", report);
    state.mutex.lock();
    for (StallMonitor* monitor : state.monitors) monitor->reporting_ = false;
    state.changed.notify_all();
  }
}

int64_t StallMonitor::due(int64_t now) {
  const int64_t since = since_.load(std::memory_order_acquire);
  if (since == 0 || since == reported_ || now - since < threshold_.count()) return 0;
  if (now < next_report_) return 0;
  reported_ = since;
  next_report_ = now + kReportInterval;
  return since;
}

// The report, or nothing.
std::string StallWatchdog::look(StallMonitor& monitor, int64_t now) {
  const int64_t since = monitor.due(now);
  if (since == 0) return {};
  const CallSite site = CallSite::from_word(monitor.site_.load(std::memory_order_relaxed));
  if (!ask_for_stack(monitor, since)) return {};
  const std::string stack = StallWatchdog::stack();
  // It may have gone on meanwhile; then the stack is that of a later call, which would mislead.
  if (monitor.since_.load(std::memory_order_acquire) != since) return {};
  return absl::StrFormat(
      "loop %s: a callback, posted at %s, has blocked the loop for %.0f ms, here:%s",
      monitor.loop_name_, site.to_string(), static_cast<double>(now - since) / 1e6, stack);
}

// False: the loop is not in that call any more, and its thread may be gone.
bool StallWatchdog::ask_for_stack(StallMonitor& monitor, int64_t since) {
  if (!monitor.try_hold(since)) return false;
  const pthread_t thread = monitor.thread_.load(std::memory_order_relaxed);
  g_request.done.store(false, std::memory_order_relaxed);
  g_request.thread.store(thread, std::memory_order_relaxed);
  g_request.wanted.store(true, std::memory_order_release);
  const bool sent = ::pthread_kill(thread, kStackSignal) == 0;
  monitor.release();
  return sent;
}

std::string StallWatchdog::stack() {
  constexpr int kTries = 200;
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
