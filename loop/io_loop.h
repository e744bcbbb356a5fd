#ifndef GYRE_LOOP_IO_LOOP_H_
#define GYRE_LOOP_IO_LOOP_H_

#include "gyre/loop/cxx20.h"  // before all else

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gyre/loop/call_site.h"
#include "gyre/loop/callback.h"
#include "gyre/loop/callback_guard.h"
#include "gyre/loop/callback_queue.h"
#include "gyre/loop/clock.h"
#include "gyre/loop/executor.h"
#include "gyre/loop/fd_waiters.h"
#include "gyre/loop/future.h"
#include "gyre/loop/handler_table.h"
#include "gyre/loop/idle_wheel.h"
#include "gyre/loop/iteration_clock.h"
#include "gyre/loop/loop_access.h"
#include "gyre/loop/loop_affinity.h"
#include "gyre/loop/loop_metrics.h"
#include "gyre/loop/poller/poller_factory.h"
#include "gyre/loop/spin_policy.h"
#include "gyre/loop/stall_watchdog.h"
#include "gyre/loop/task_root.h"
#include "gyre/loop/timer_queue.h"

namespace gyre {

struct IOLoopOptions {
  // kDefault: GYRE_BACKEND (epoll | kqueue | select), else the best that is compiled in.
  Backend backend = Backend::kDefault;
  // unset: the loop becomes current if its thread has none; true: AlreadyExists if it has one;
  // false: it does not become current.
  std::optional<bool> make_current = std::nullopt;
  // Shown in logs, metrics and stacks.
  std::string name = "loop";
  // How long the callbacks of one iteration may take, and how long its timeouts, before the fds
  // have their turn; the rest goes on in the next. Long enough to cost nothing, short enough for a
  // timer.
  std::chrono::nanoseconds time_slice = std::chrono::milliseconds(2);
  // How many callbacks try_add_callback may have queued: so much work may wait, not more.
  size_t callback_limit = 65536;
  // How long the loop may look for events and posts by itself before it sleeps; zero: not at all.
  // An answer that comes meanwhile costs no wake-up, which is tens of microseconds between two
  // CPUs; 50 us pays for two. It does so only while that finds something, and while no more loops
  // that may spin run than there are CPUs, and gives up soon where others want the CPU (see
  // internal::SpinPolicy). A thousand looks at the fds end it in any case, after a millisecond or
  // so. Costs power, and another virtual machine's CPU, so it is off by default.
  std::chrono::nanoseconds spin{0};
  // Borrowed; nullptr: std::chrono::steady_clock. A test turns its own.
  const MonotonicClock* clock = nullptr;
  // Makes the poller, instead of `backend`. For tests that simulate the kernel.
  std::function<absl::StatusOr<std::unique_ptr<Poller>>()> poller_factory = nullptr;
};

// One thread's event loop: Tornado's IOLoop. Waits for file descriptors (level-triggered), runs the
// callbacks that any thread posts, and timeouts.
//
// Loop thread only, unless a method says otherwise: the thread that is in start(). While no thread
// runs the loop it may be used by one thread at a time. A call from the wrong thread is a checked
// error that names both threads.
//
// One iteration:
//   1. the callbacks that were posted before it began, in order of arrival over all threads;
//   2. the timeouts that were added before it and are due, by deadline and then insertion;
//   3. if stop() was called: the end;
//   4. a poll, if any fd is watched; it waits only if there is nothing to do;
//   5. the handlers of the fds that are ready.
// What is added in an iteration never runs in it: a poll comes first. An exception out of a
// callback goes to the exception handler, and the loop goes on.
class IOLoop {
 public:
  using Clock = std::chrono::steady_clock;
  using TimePoint = Clock::time_point;
  using Duration = std::chrono::nanoseconds;
  using Callback = gyre::Callback;
  using Handler = FdHandler;

  static constexpr uint32_t NONE = PollEvents::kNone;
  static constexpr uint32_t READ = PollEvents::kRead;
  static constexpr uint32_t WRITE = PollEvents::kWrite;
  static constexpr uint32_t ERROR = PollEvents::kError;

  // Any thread. InvalidArgument for an unknown GYRE_BACKEND, Unimplemented for a backend that is
  // not compiled in, AlreadyExists see make_current, ResourceExhausted without file descriptors.
  static absl::StatusOr<std::unique_ptr<IOLoop>> create(IOLoopOptions options = {});

  // Closes the loop; its fds stay open. Inside one of its own callbacks: a checked error.
  ~IOLoop();
  IOLoop(const IOLoop&) = delete;
  IOLoop& operator=(const IOLoop&) = delete;

  // ---- Which loop is it

  // This thread's loop: the one that it runs, or that was made current. Where there is none:
  // instance(), or nullptr if `instance` is false. Any thread.
  static IOLoop* current(bool instance = true);
  // Replaces this thread's current loop, if there is one. Any thread.
  absl::Status make_current();
  // This thread has none from then on. Any thread.
  static void clear_current();

  // The process-wide loop, made at first use. It does not become current. Any thread.
  static IOLoop& instance();
  // Whether there is one, made or installed. Any thread.
  static bool initialized();
  // Makes this loop instance(); it stays the caller's. AlreadyExists if there is one. Any thread.
  absl::Status install();
  // Destroys a loop that instance() made, forgets one that was installed. Any thread.
  static void clear_instance();

  // ---- Running

  // Runs until stop(). The loop is current meanwhile. FailedPrecondition when re-entered or closed.
  absl::Status start();

  // Ends the run that is going on, once what is due in its iteration has run; before start(): the
  // next start() returns at once and runs nothing. Callbacks that are queued stay for the next
  // start(). Any thread. Signal-safe.
  void stop();

  // Runs `func` on the loop until its result is there. `func` returns Task<T>, Future<T>, T or
  // void; gives absl::StatusOr<T>, or absl::Status for void; where T is one of these, just T.
  // DeadlineExceeded at the timeout, Cancelled if the loop is stopped first: the Task is destroyed
  // then, and a `func` that had not started never runs. FailedPrecondition inside a running loop,
  // or on a closed one. What `func`, the Task or the Future throws is rethrown.
  template <class F>
  auto run_sync(F&& func, std::optional<Duration> timeout = std::nullopt);

  // Destroys, unrun, what is queued: callbacks, timeouts, suspended coroutines, handlers. With
  // `all_fds` also closes the registered fds. Later posts return false, and so do those that race
  // it. FailedPrecondition while a thread runs the loop. A second time it does nothing.
  absl::Status close(bool all_fds = false);

  // ---- File descriptors

  // Calls handler(fd, events) whenever fd is ready for what `events` (READ, WRITE) asks, or has an
  // ERROR; several at once come in one call. ERROR is always watched. AlreadyExists if fd has a
  // handler, InvalidArgument for a negative or closed fd, or one that cannot be watched (a regular
  // file), ResourceExhausted past the limit of the backend. The fd stays the caller's: remove it,
  // then close it.
  absl::Status add_handler(int fd, Handler handler, uint32_t events,
                           CallSite site = CallSite::current());
  // Replaces the interest. NotFound if fd has no handler.
  absl::Status update_handler(int fd, uint32_t events);
  // The handler is not called any more, not even for what was fetched already. NotFound.
  absl::Status remove_handler(int fd);

  // The same for an object that has `int fileno() const`: handler(object, events) is given it back,
  // and close(true) calls its close() if it has one.
  template <class T, class H>
  absl::Status add_handler(std::shared_ptr<T> object, H handler, uint32_t events,
                           CallSite site = CallSite::current());
  template <class T>
  absl::Status update_handler(const std::shared_ptr<T>& object, uint32_t events) {
    return update_handler(object->fileno(), events);
  }
  template <class T>
  absl::Status remove_handler(const std::shared_ptr<T>& object) {
    return remove_handler(object->fileno());
  }

  // ---- Callbacks

  // Runs f(args...) in the next iteration. False: the loop is closed, and f is destroyed. Callables
  // of up to 48 bytes need no allocation. `site` is where the caller stands. Any thread.
  template <class F>
  requires internal::PlainCallable<F>
  bool add_callback(F&& f, CallSite site = CallSite::current()) {
    return queue_->post(site, std::forward<F>(f));
  }
  template <class F, class... A>
  requires(sizeof...(A) > 0 && internal::PlainCallable<F, A...>) bool add_callback(F&& f,
                                                                                   A&&... args) {
    return queue_->post(CallSite(), std::forward<F>(f), std::forward<A>(args)...);
  }
  // Nobody would run the Task: use spawn_callback.
  template <class F, class... A>
  requires internal::ReturnsTask<F, A...>
  bool add_callback(F&& f, A&&... args) = delete;

  // add_callback for work that may be refused: false also when IOLoopOptions::callback_limit of
  // them are queued; f is not moved from then. Any thread.
  template <class F>
  requires internal::PlainCallable<F>
  bool try_add_callback(F&& f, CallSite site = CallSite::current()) {
    return queue_->try_post(site, std::forward<F>(f));
  }
  template <class F, class... A>
  requires(sizeof...(A) > 0 &&
           internal::PlainCallable<F, A...>) bool try_add_callback(F&& f, A&&... args) {
    return queue_->try_post(CallSite(), std::forward<F>(f), std::forward<A>(args)...);
  }

  // The same as add_callback from a signal handler, into slots that were allocated before. False
  // also when all of them are taken; one is free again once its callback ran. Any thread.
  // Signal-safe.
  template <class F>
  bool add_callback_from_signal(F f) {
    return queue_->post_from_signal(f);
  }

  // add_callback for a function that may return a Task: the Task is run to its end, f and args are
  // kept until then, and its exception goes to the exception handler. Any thread.
  template <class F>
  requires internal::CallableOnce<F>
  bool spawn_callback(F&& f, CallSite site = CallSite::current()) {
    return spawn(site, std::forward<F>(f));
  }
  template <class F, class... A>
  requires(sizeof...(A) > 0 && internal::CallableOnce<F, A...>) bool spawn_callback(F&& f,
                                                                                    A&&... args) {
    return spawn(CallSite(), std::forward<F>(f), std::forward<A>(args)...);
  }

  // Runs callback(future) in a later iteration of this loop once the future is done. Any thread.
  template <class T, class F>
  void add_future(Future<T> future, F callback);

  // Runs blocking work on the executor; the Future completes on whoever awaits it. It throws if the
  // executor refuses the work. Any thread.
  template <class F>
  auto run_in_executor(F func) -> Future<std::invoke_result_t<F>>;
  // Borrowed, until another one is set and nobody is in run_in_executor. nullptr:
  // default_executor().
  void set_default_executor(Executor* executor);

  // ---- Timeouts

  // Names one timeout. Copyable; a default one names nothing, as does that of a closed loop.
  class Timeout {
   public:
    Timeout() = default;
    explicit operator bool() const { return id_.sequence != 0; }

   private:
    friend class IOLoop;
    explicit Timeout(internal::TimerId id) : id_(id) {}
    internal::TimerId id_;
  };

  // Run f(args...) at `deadline`, or `delay` from the call: never early, and at the soonest in the
  // next iteration, also for what is past. Deadlines beyond the clock's range never come.
  template <class F>
  Timeout call_at(TimePoint when, F&& f, CallSite site = CallSite::current()) {
    return schedule(when, site, std::forward<F>(f));
  }
  template <class F, class... A>
  requires(sizeof...(A) > 0) Timeout call_at(TimePoint when, F&& f, A&&... args) {
    return schedule(when, CallSite(), std::forward<F>(f), std::forward<A>(args)...);
  }
  template <class Rep, class Period, class F>
  Timeout call_later(std::chrono::duration<Rep, Period> delay, F&& f,
                     CallSite site = CallSite::current()) {
    return schedule(after(delay), site, std::forward<F>(f));
  }
  template <class Rep, class Period, class F, class... A>
  requires(sizeof...(A) > 0) Timeout
      call_later(std::chrono::duration<Rep, Period> delay, F&& f, A&&... args) {
    return schedule(after(delay), CallSite(), std::forward<F>(f), std::forward<A>(args)...);
  }
  template <class F>
  Timeout add_timeout(TimePoint deadline, F&& f, CallSite site = CallSite::current()) {
    return schedule(deadline, site, std::forward<F>(f));
  }
  template <class F, class... A>
  requires(sizeof...(A) > 0) Timeout add_timeout(TimePoint deadline, F&& f, A&&... args) {
    return schedule(deadline, CallSite(), std::forward<F>(f), std::forward<A>(args)...);
  }
  template <class Rep, class Period, class F>
  Timeout add_timeout(std::chrono::duration<Rep, Period> delay, F&& f,
                      CallSite site = CallSite::current()) {
    return schedule(after(delay), site, std::forward<F>(f));
  }
  template <class Rep, class Period, class F, class... A>
  requires(sizeof...(A) > 0) Timeout
      add_timeout(std::chrono::duration<Rep, Period> delay, F&& f, A&&... args) {
    return schedule(after(delay), CallSite(), std::forward<F>(f), std::forward<A>(args)...);
  }
  // Destroys the callable. One that fired, was removed, or names nothing: no-op.
  void remove_timeout(Timeout timeout);

  // The loop's clock, now. Any thread.
  TimePoint time() const { return clock_.now(); }

  // ---- The rest

  // Called with what a callback threw, instead of logging it. What it throws itself is logged.
  void set_exception_handler(ExceptionHandler handler);
  // Logs each callback, timeout and handler that takes longer: where it was posted (in the form
  // without arguments), how long it took; and while it blocks, from a watchdog's thread, the stack
  // of the loop's thread, which it gets by a signal (SIGURG). At most one stack a second. Zero:
  // off, which is the default. Costs two looks at the clock for each call.
  void set_blocking_log_threshold(Duration threshold);

  bool in_loop_thread() const { return affinity_.here(); }  // Any thread.
  bool running() const { return affinity_.running(); }      // Any thread.
  bool closed() const { return queue_->closed(); }          // Any thread.
  Backend backend() const { return backend_; }              // Any thread.
  const std::string& name() const { return name_; }         // Any thread.
  // What the loop has done, and how late it was. Copies 4 KiB. Any thread.
  LoopMetrics metrics() const;
  // What the loop does at the moment, in a line: whether it runs, waits, or is in a call; of which
  // kind, posted where and for how long, so that a loop that is stuck says in what. Any thread.
  std::string activity() const;
  // Everything that is on the loop, as text for a person: what keeps it from ending, its handlers,
  // timeouts, callbacks and coroutines. A line for each, which takes a few system calls for each
  // handler. LoopPool::dump() asks loops that run elsewhere. Loop thread only.
  std::string dump();

 private:
  friend class internal::TaskRoot;
  friend class internal::FdWaiters;
  friend struct internal::LoopAccess;
  struct Identity;
  struct Instance;
  static std::shared_ptr<Identity>& current_identity();
  static Instance& the_instance();

  IOLoop(const IOLoopOptions& options, Backend backend, std::unique_ptr<Poller> poller);

  // One iteration; false: stop() was called.
  bool iterate() ABSL_EXCLUSIVE_LOCKS_REQUIRED(affinity_);
  void run_callbacks() ABSL_EXCLUSIVE_LOCKS_REQUIRED(affinity_);
  void run_timeouts(uint64_t added_before) ABSL_EXCLUSIVE_LOCKS_REQUIRED(affinity_);
  void run_idle_timeouts() ABSL_EXCLUSIVE_LOCKS_REQUIRED(affinity_);
  void poll_and_dispatch() ABSL_EXCLUSIVE_LOCKS_REQUIRED(affinity_);
  Poller::WaitResult wait(TimePoint now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(affinity_);
  Poller::WaitResult poll(Duration timeout) ABSL_EXCLUSIVE_LOCKS_REQUIRED(affinity_);
  Poller::WaitResult sleep(Duration timeout) ABSL_EXCLUSIVE_LOCKS_REQUIRED(affinity_);
  std::optional<Poller::WaitResult> spin(TimePoint start) ABSL_EXCLUSIVE_LOCKS_REQUIRED(affinity_);
  void dump_end(std::string& text) ABSL_EXCLUSIVE_LOCKS_REQUIRED(affinity_);
  void dump_counts(std::string& text) const;
  void dump_handlers(std::string& text) ABSL_EXCLUSIVE_LOCKS_REQUIRED(affinity_);
  void dump_timers(std::string& text) ABSL_EXCLUSIVE_LOCKS_REQUIRED(affinity_);
  void dump_callbacks(std::string& text) ABSL_EXCLUSIVE_LOCKS_REQUIRED(affinity_);
  void release_removed_handlers() ABSL_EXCLUSIVE_LOCKS_REQUIRED(affinity_);
  void count_iteration(Duration worked) ABSL_EXCLUSIVE_LOCKS_REQUIRED(affinity_);
  TimePoint awake_since() const { return TimePoint(Duration(counters_.awake_since.get())); }
  void set_awake_since(TimePoint time) {
    counters_.awake_since.set(static_cast<uint64_t>(time.time_since_epoch().count()));
  }
  void dispatch_all(std::span<const Poller::Event> events) ABSL_EXCLUSIVE_LOCKS_REQUIRED(affinity_);
  bool dispatch(const Poller::Event& event) ABSL_EXCLUSIVE_LOCKS_REQUIRED(affinity_);
  void rebuild_poller() ABSL_EXCLUSIVE_LOCKS_REQUIRED(affinity_);
  Duration poll_timeout(TimePoint now) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(affinity_);

  template <class F, class... A>
  bool spawn(CallSite site, F&& f, A&&... args);
  template <class F, class... A>
  Timeout schedule(TimePoint when, CallSite site, F&& f, A&&... args);
  template <class Rep, class Period>
  TimePoint after(std::chrono::duration<Rep, Period> delay) const {
    return internal::saturating_add(time(), internal::saturating_nanoseconds(delay));
  }

  // Calls `f`, which is user code, and watches how long it takes if that was asked for.
  template <class F>
  void call(CallSite site, const char* what, F&& f);
  void call_watched(CallSite site, const char* what, absl::FunctionRef<void()> f);

  // Why the loop cannot be used, or OK.
  absl::Status check_usable(const char* what) const;
  absl::Status register_handler(int fd, internal::EventHandler& handler, uint32_t events,
                                Trigger trigger, bool internal = false);
  absl::Status change_interest(int fd, uint32_t events, bool internal);
  void unregister_handler(int fd, bool closing = false) ABSL_EXCLUSIVE_LOCKS_REQUIRED(affinity_);
  void close_leased(bool all_fds) ABSL_EXCLUSIVE_LOCKS_REQUIRED(affinity_);

  const std::string name_;
  const Backend backend_;
  const MonotonicClock& clock_;
  const Duration time_slice_;
  internal::IterationClock iteration_clock_{clock_};
  internal::SpinPolicy spin_policy_ ABSL_GUARDED_BY(affinity_);
  internal::LoopAffinity affinity_{name_};
  internal::LoopCounters counters_;
  internal::CallbackGuard guard_;
  std::unique_ptr<Poller> poller_;
  std::shared_ptr<internal::CallbackQueue> queue_;
  internal::TimerQueue timers_ ABSL_GUARDED_BY(affinity_);
  std::unique_ptr<internal::IdleWheel> idle_wheel_;
  internal::HandlerTable handlers_ ABSL_GUARDED_BY(affinity_);
  internal::TaskRegistry tasks_;
  internal::FdWaiters fd_waiters_{*this};
  std::shared_ptr<Identity> identity_;
  std::atomic<Executor*> executor_{nullptr};
  std::unique_ptr<internal::StallMonitor> stall_monitor_;  // while a threshold is set
  std::vector<std::unique_ptr<internal::StallMonitor>> retired_monitors_;
  absl::Status poll_failure_ ABSL_GUARDED_BY(affinity_);
  bool orphan_reported_ ABSL_GUARDED_BY(affinity_) = false;
  std::unique_ptr<char[]> receive_buffer_;
  std::unique_ptr<char[]> send_buffer_;
  std::shared_ptr<void> streams_;
  const uint32_t fork_generation_ = internal::fork_generation();
};

}  // namespace gyre

#include "gyre/loop/io_loop_inl.h"  // IWYU pragma: export

#endif  // GYRE_LOOP_IO_LOOP_H_
