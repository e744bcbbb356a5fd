#include "gyre/loop/io_loop.h"

#include <algorithm>
#include <thread>

#include "absl/strings/str_format.h"
#include "gyre/loop/cpu_hints.h"
#include "gyre/loop/errno_status.h"
#include "gyre/loop/time_slice.h"

namespace gyre {
namespace {

using internal::CallbackNode;
using internal::CallbackQueue;
using internal::TimeSlice;

// Loops in start() that may spin, of the whole process; an acceptor's loop that sleeps takes no CPU
// from them. Relaxed: nothing hangs on it but whether to spin.
constinit std::atomic<unsigned> g_spinning_loops{0};

class SpinningLoop {
 public:
  explicit SpinningLoop(bool spins) : spins_(spins) {
    g_spinning_loops.fetch_add(spins_, std::memory_order_relaxed);
  }
  ~SpinningLoop() { g_spinning_loops.fetch_sub(spins_, std::memory_order_relaxed); }

 private:
  const unsigned spins_;
};

// Those that the process may use; asked once, by a thread that is probably not bound to one of
// them.
unsigned cpu_count() {
  static const unsigned count = std::max(std::thread::hardware_concurrency(), 1u);
  return count;
}

}  // namespace

absl::StatusOr<std::unique_ptr<IOLoop>> IOLoop::create(IOLoopOptions options) {
  internal::watch_forks();
  if (options.make_current.value_or(false) && current(/*instance=*/false) != nullptr) {
    return absl::AlreadyExistsError("make_current: this thread has a current loop already");
  }
  absl::StatusOr<Backend> backend = resolve_backend(options.backend);
  if (!backend.ok()) return backend.status();
  absl::StatusOr<std::unique_ptr<Poller>> poller =
      options.poller_factory ? options.poller_factory() : create_poller(*backend);
  if (!poller.ok()) return poller.status();
  std::unique_ptr<IOLoop> loop(new IOLoop(options, *backend, std::move(*poller)));
  if (options.spin > Duration::zero()) cpu_count();
  if (options.make_current.value_or(current(/*instance=*/false) == nullptr)) {
    if (absl::Status status = loop->make_current(); !status.ok()) return status;
  }
  return loop;
}

absl::Status IOLoop::check_usable(const char* what) const {
  if (internal::fork_generation() != fork_generation_) {
    return absl::FailedPreconditionError(absl::StrFormat(
        "%s: loop \"%s\" belongs to the parent process; make one after fork()", what, name_));
  }
  if (closed()) {
    return absl::FailedPreconditionError(absl::StrFormat("%s: loop \"%s\" is closed", what, name_));
  }
  return absl::OkStatus();
}

absl::Status IOLoop::start() {
  if (absl::Status status = check_usable("start"); !status.ok()) return status;
  if (!affinity_.try_run()) {
    return absl::FailedPreconditionError(absl::StrFormat("start: loop \"%s\" runs already", name_));
  }
  // Not a pointer: that loop may be destroyed meanwhile.
  const std::shared_ptr<Identity> previous_current = std::exchange(current_identity(), identity_);
  absl::Status status;
  const SpinningLoop running(spin_policy_.limit() > Duration::zero());
  CallbackQueue* const previous_running = CallbackQueue::set_running(queue_.get());
  if (!queue_->stop_requested()) {
    const TimePoint now = iteration_clock_.look();
    set_awake_since(now);
    if (idle_wheel_ != nullptr) {
      idle_wheel_->end_iteration(now);  // what was touched between the runs
      idle_wheel_->begin_iteration(now);
    }
    while (iterate()) {
    }
    status = std::exchange(poll_failure_, absl::OkStatus());
  }
  queue_->clear_stop();
  CallbackQueue::set_running(previous_running);
  current_identity() = previous_current;
  affinity_.end_run();
  return status;
}

void IOLoop::stop() { queue_->request_stop(); }

bool IOLoop::iterate() {
  counters_.iterations.add(1);
  if (!retired_monitors_.empty()) [[unlikely]]
    retired_monitors_.clear();
  const uint64_t added_before = timers_.next_sequence();
  run_callbacks();
  run_timeouts(added_before);
  if (idle_wheel_ != nullptr) run_idle_timeouts();
  if (queue_->stop_requested()) return false;
  poll_and_dispatch();
  return poll_failure_.ok();
}

void IOLoop::run_callbacks() {
  queue_->begin_batch();
  CallbackNode* node = queue_->pop();
  if (node == nullptr) return;
  internal::NodeReleaser releaser;
  TimeSlice slice(clock_, time_slice_, iteration_clock_.now());
  uint64_t count = 0;
  for (;;) {
    const CallSite site = node->site();
    counters_.running.set_callback(site);
    call(site, "a callback", [node] { node->run_and_destroy(); });
    queue_->release(node, releaser);
    ++count;
    if (queue_->batch_done()) break;
    // After a stop() nothing follows this batch, so it may take what it needs.
    if (slice.over() && !queue_->stop_requested()) break;
    node = queue_->pop();
  }
  queue_->finish_batch();
  counters_.callbacks.add(count);
}

void IOLoop::run_timeouts(uint64_t added_before) {
  if (timers_.empty()) return;
  const TimePoint now = iteration_clock_.now();
  if (timers_.next_deadline() > now) return;
  TimeSlice slice(clock_, time_slice_, now);
  uint64_t count = 0;
  timers_.begin_batch(now, added_before);
  while (timers_.run_one([&](CallbackNode* node, TimePoint deadline) {
    counters_.timer_lateness.record(internal::saturating_sub(slice.latest(), deadline));
    const CallSite site = node->site();
    counters_.running.set_timeout(site);
    call(site, "a timeout", [node] { node->run_and_destroy(); });
  })) {
    ++count;
    if (slice.over() && !queue_->stop_requested()) break;
  }
  counters_.timeouts.add(count);
}

void IOLoop::run_idle_timeouts() {
  internal::IdleWheel& wheel = *idle_wheel_;
  if (wheel.empty()) return;
  if (wheel.sweep()) iteration_clock_.expire();  // very many may have been put off
  if (!wheel.has_expired()) return;
  TimeSlice slice(clock_, time_slice_, iteration_clock_.now());
  uint64_t count = 0;
  do {
    counters_.running.set_idle_timeout();
    call(CallSite(), "an idle timeout", [&wheel] { wheel.run_one(); });
    ++count;
  } while (wheel.has_expired() && (!slice.over() || queue_->stop_requested()));
  counters_.timeouts.add(count);
}

IOLoop::Duration IOLoop::poll_timeout(TimePoint now) const {
  if (queue_->has_work()) return Duration::zero();
  TimePoint deadline = timers_.empty() ? TimePoint::max() : timers_.next_deadline();
  if (idle_wheel_ != nullptr && !idle_wheel_->empty()) {
    if (idle_wheel_->has_expired()) return Duration::zero();
    deadline = std::min(deadline, idle_wheel_->next_deadline().value_or(deadline));
  }
  if (deadline == TimePoint::max()) return Duration(-1);
  return std::max(internal::saturating_sub(deadline, now), Duration::zero());
}

Poller::WaitResult IOLoop::poll(Duration timeout) {
  return handlers_.size() > 0 ? poller_->wait(timeout) : poller_->wait_for_wake(timeout);
}

Poller::WaitResult IOLoop::sleep(Duration timeout) {
  const bool sleeps = timeout != Duration::zero() && queue_->prepare_to_sleep();
  if (!sleeps) timeout = Duration::zero();
  const Poller::WaitResult result = poll(timeout);
  if (sleeps && queue_->finish_sleep()) counters_.wakeups.add(1);
  return result;
}

Poller::WaitResult IOLoop::wait(TimePoint now) {
  const Duration timeout = poll_timeout(now);
  const Duration limit = spin_policy_.limit();
  // A wait that the next timeout ends as soon is none to spin for.
  if (limit == Duration::zero() || (timeout >= Duration::zero() && timeout <= limit))
    return sleep(timeout);
  std::optional<Poller::WaitResult> result;
  TimePoint slept_since = now;
  if (g_spinning_loops.load(std::memory_order_relaxed) <= cpu_count() && spin_policy_.worth_it()) {
    result = spin(now);
    slept_since = clock_.now();
    spin_policy_.spun(slept_since - now, result.has_value());
    counters_.spins.add(1);
    counters_.spins_won.add(result.has_value());
  }
  if (!result.has_value()) result = sleep(poll_timeout(slept_since));
  const TimePoint after = clock_.now();
  spin_policy_.waited(after - now);
  return *result;
}

// Polls, and looks for what other threads post, again and again. nullopt: in vain.
std::optional<Poller::WaitResult> IOLoop::spin(TimePoint start) {
  // A look costs the transfer of a cache line at most, a poll a system call.
  constexpr int kLooksPerPoll = 32;
  // For a clock that stands still.
  constexpr int kMaxPolls = 1000;
  for (int i = 0; i < kMaxPolls; ++i) {
    const Poller::WaitResult result = poll(Duration::zero());
    if (!result.events.empty() || result.error != 0) return result;
    for (int look = 0; look < kLooksPerPoll; ++look) {
      if (!queue_->quiet()) return result;
      internal::relax_cpu();
    }
    if (clock_.now() - start >= spin_policy_.limit()) break;
  }
  return std::nullopt;
}

void IOLoop::poll_and_dispatch() {
  // What a callback removed is released before a wait that may be long.
  release_removed_handlers();
  const TimePoint before = iteration_clock_.now();
  if (idle_wheel_ != nullptr) idle_wheel_->end_iteration(before);
  count_iteration(before - awake_since());
  counters_.polling.set(1);
  const Poller::WaitResult result = wait(before);
  const TimePoint after = iteration_clock_.look();
  set_awake_since(after);
  counters_.polling.set(0);
  counters_.idle_nanoseconds.add((after - before).count());
  if (idle_wheel_ != nullptr) idle_wheel_->begin_iteration(after);
  if (result.error != 0) [[unlikely]] {
    poll_failure_ = internal::errno_status(
        result.error, absl::StrFormat("loop \"%s\" cannot wait for events any more", name_));
    logf(LogLevel::kError, "%s", std::string(poll_failure_.message()));
    return;
  }
  handlers_.begin_wait();
  dispatch_all(result.events);
  release_removed_handlers();
  if (std::exchange(orphan_reported_, false)) rebuild_poller();
}

void IOLoop::release_removed_handlers() {
  if (!handlers_.any_removed()) return;
  iteration_clock_.expire();
  handlers_.release_removed();
}

void IOLoop::count_iteration(Duration worked) {
  counters_.busy_nanoseconds.add(worked.count());
  counters_.lag.record(worked);
  counters_.handlers.set(handlers_.size());
  counters_.timers.set(timers_.size());
}

// False: nobody was to be told.
inline bool IOLoop::dispatch(const Poller::Event& event) {
  int fd;
  internal::HandlerTable::Registration* registration = handlers_.find_token(event.token, &fd);
  if (registration == nullptr) {
    // Removed by an earlier handler of this batch; or out of the loop's reach.
    if (!handlers_.removed_in_this_wait(fd)) orphan_reported_ = true;
    return false;
  }
  const uint32_t events = event.events & (registration->interest | ERROR);
  if (events == NONE) return false;  // an earlier handler dropped the interest
  internal::EventHandler& handler = *registration->handler;
  const CallSite site = stall_monitor_ == nullptr ? CallSite() : handler.site();
  counters_.running.set_handler(fd);
  call(site, "a handler", [&handler, fd, events] { handler.handle_events(fd, events); });
  return true;
}

void IOLoop::dispatch_all(std::span<const Poller::Event> events) {
  // Far enough for a cache miss, near enough for the first-level cache to hold it until then.
  constexpr size_t kAhead = 2;
  uint64_t dispatched = 0;
  for (size_t i = 0; i < events.size(); ++i) {
    if (i + kAhead < events.size()) handlers_.prefetch(events[i + kAhead].token);
    dispatched += dispatch(events[i]);
  }
  counters_.events.add(dispatched);
}

// Somebody closed an fd before it was removed, while a copy of it is open: the poller reports it
// again and again, and no call can name it any more.
void IOLoop::rebuild_poller() {
  iteration_clock_.expire();  // a call for each fd, and the log
  const absl::Status reset = poller_->reset();
  if (absl::IsUnimplemented(reset)) return;  // such a backend reports it once at most
  logf(LogLevel::kWarning,
       "loop \"%s\": an fd was closed before remove_handler, while a copy of it (dup, fork) stays "
       "open; watching all others anew: %s",
       name_, reset.ToString());
  if (!reset.ok()) return;
  handlers_.for_each([this](int fd, const internal::HandlerTable::Registration& registration) {
    const uint64_t token = internal::HandlerTable::token(fd, registration.generation);
    absl::Status status = poller_->add(fd, registration.interest, token, registration.trigger);
    if (!status.ok()) {  // closed, too: it would not have been reported
      logf(LogLevel::kWarning, "loop \"%s\": %s", name_, status.ToString());
    }
  });
}

// ---- The rest

void IOLoop::remove_timeout(Timeout timeout) {
  if (closed() || internal::fork_generation() != fork_generation_) return;
  affinity_.assert_here("remove_timeout");
  timers_.cancel(timeout.id_);
}

void IOLoop::set_exception_handler(ExceptionHandler handler) {
  affinity_.assert_here("set_exception_handler");
  guard_.set_handler(std::move(handler));
}

void IOLoop::set_blocking_log_threshold(Duration threshold) {
  affinity_.assert_here("set_blocking_log_threshold");
  if (stall_monitor_ != nullptr) internal::StallWatchdog::unwatch(*stall_monitor_);
  // Kept until the next iteration: a callback that is watched may be the one that calls this.
  if (stall_monitor_ != nullptr) retired_monitors_.push_back(std::move(stall_monitor_));
  if (threshold <= Duration::zero() || closed()) return;
  stall_monitor_ = std::make_unique<internal::StallMonitor>(name_, threshold);
  internal::StallWatchdog::watch(*stall_monitor_);
}

void IOLoop::call_watched(CallSite site, const char* what, absl::FunctionRef<void()> f) {
  internal::StallMonitor& monitor = *stall_monitor_;
  monitor.begin_call(site);
  const TimePoint start = clock_.now();
  guard_.run(f);
  const Duration took = clock_.now() - start;
  monitor.end_call();
  if (took < monitor.threshold()) return;
  logf(LogLevel::kWarning, "loop %s: %s, posted at %s, blocked the loop for %.3f ms", name_, what,
       site.to_string(), took.count() / 1e6);
}

void IOLoop::set_default_executor(Executor* executor) {
  executor_.store(executor, std::memory_order_release);
}

LoopMetrics IOLoop::metrics() const {
  LoopMetrics metrics;
  metrics.iterations = counters_.iterations.get();
  metrics.callbacks = counters_.callbacks.get();
  metrics.timeouts = counters_.timeouts.get();
  metrics.events = counters_.events.get();
  metrics.handlers = counters_.handlers.get();
  metrics.timers = counters_.timers.get();
  metrics.posts_from_outside = queue_->posts_from_outside();
  metrics.wakeups = counters_.wakeups.get();
  metrics.wakeups_saved = queue_->wakeups_saved();
  metrics.spins = counters_.spins.get();
  metrics.spins_won = counters_.spins_won.get();
  metrics.exceptions = guard_.exceptions();
  metrics.queue_depth = queue_->depth();
  metrics.max_queue_depth = queue_->max_depth();
  metrics.idle = std::chrono::nanoseconds(counters_.idle_nanoseconds.get());
  metrics.busy = std::chrono::nanoseconds(counters_.busy_nanoseconds.get());
  metrics.polling = counters_.polling.get() != 0;
  if (!metrics.polling && running())
    metrics.away = std::max(time() - awake_since(), Duration::zero());
  metrics.connections = counters_.connections.get();
  metrics.bytes_received = counters_.bytes_received.get();
  metrics.bytes_sent = counters_.bytes_sent.get();
  metrics.lag = counters_.lag.snapshot();
  metrics.timer_lateness = counters_.timer_lateness.snapshot();
  metrics.post_latency = queue_->post_latency();
  return metrics;
}

}  // namespace gyre
