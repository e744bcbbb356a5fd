// Which loop is whose, and how a loop ends.

#include "absl/strings/str_format.h"
#include "gyre/loop/io_loop.h"
#include "gyre/loop/mutex.h"

namespace gyre {

// What a thread remembers of its current loop, which may be destroyed in another thread.
struct IOLoop::Identity {
  std::atomic<IOLoop*> loop;
};

struct IOLoop::Instance {
  internal::Mutex mutex;
  IOLoop* loop ABSL_GUARDED_BY(mutex) = nullptr;
  bool owned ABSL_GUARDED_BY(mutex) = false;  // made by instance(), not installed
};

IOLoop::Instance& IOLoop::the_instance() {
  // Never destroyed: the loop may be in use until the process ends.
  static auto* instance = new Instance;
  return *instance;
}

std::shared_ptr<IOLoop::Identity>& IOLoop::current_identity() {
  static thread_local std::shared_ptr<Identity> identity;
  return identity;
}

IOLoop::IOLoop(const IOLoopOptions& options, Backend backend, std::unique_ptr<Poller> poller)
    : name_(options.name),
      backend_(backend),
      clock_(options.clock != nullptr ? *options.clock : MonotonicClock::steady()),
      time_slice_(options.time_slice),
      spin_policy_(options.spin),
      guard_(options.name),
      poller_(std::move(poller)),
      queue_(std::make_shared<internal::CallbackQueue>(*poller_, options.callback_limit)),
      timers_(internal::first_timer_sequence()),
      identity_(std::make_shared<Identity>()) {
  identity_->loop.store(this, std::memory_order_relaxed);
}

IOLoop::~IOLoop() {
  // In a child of fork() the thread that ran the loop does not exist, and the loop is the parent's.
  if (internal::fork_generation() == fork_generation_) {
    GYRE_CHECK(
        !affinity_.here(),
        "loop \"%s\" is destroyed inside its own callback: stop it, and destroy it after start() "
        "returned",
        name_);
    GYRE_CHECK(!affinity_.running(), "loop \"%s\" is destroyed while another thread runs it",
               name_);
    close().IgnoreError();  // cannot fail: it does not run
  }
  identity_->loop.store(nullptr, std::memory_order_release);
  Instance& instance = the_instance();
  internal::MutexLock lock(instance.mutex);
  if (instance.loop == this) instance.loop = nullptr;
}

IOLoop* IOLoop::current(bool instance) {
  const std::shared_ptr<Identity>& identity = current_identity();
  if (identity != nullptr) {
    if (IOLoop* loop = identity->loop.load(std::memory_order_acquire)) return loop;
  }
  return instance ? &IOLoop::instance() : nullptr;
}

absl::Status IOLoop::make_current() {
  current_identity() = identity_;
  return absl::OkStatus();
}

void IOLoop::clear_current() { current_identity().reset(); }

IOLoop& IOLoop::instance() {
  Instance& instance = the_instance();
  internal::MutexLock lock(instance.mutex);
  if (instance.loop == nullptr) {
    IOLoopOptions options;
    options.make_current = false;
    options.name = "instance";
    absl::StatusOr<std::unique_ptr<IOLoop>> created = create(std::move(options));
    GYRE_CHECK(created.ok(), "the process-wide loop cannot be made: %s",
               created.status().ToString());
    instance.loop = created->release();
    instance.owned = true;
  }
  return *instance.loop;
}

bool IOLoop::initialized() {
  Instance& instance = the_instance();
  internal::MutexLock lock(instance.mutex);
  return instance.loop != nullptr;
}

absl::Status IOLoop::install() {
  Instance& instance = the_instance();
  internal::MutexLock lock(instance.mutex);
  if (instance.loop != nullptr) {
    return absl::AlreadyExistsError("install: the process has an instance() already");
  }
  instance.loop = this;
  instance.owned = false;
  return absl::OkStatus();
}

void IOLoop::clear_instance() {
  // Destroyed after the lock: the destructors of its callbacks are user code.
  std::unique_ptr<IOLoop> owned;
  Instance& instance = the_instance();
  internal::MutexLock lock(instance.mutex);
  IOLoop* loop = std::exchange(instance.loop, nullptr);
  if (instance.owned) owned.reset(loop);
}

absl::Status IOLoop::close(bool all_fds) {
  // A second close, or one out of a destructor that the first one runs.
  if (closed()) return absl::OkStatus();
  if (!affinity_.try_lease()) {
    return absl::FailedPreconditionError(absl::StrFormat(
        "close: loop \"%s\" runs: stop it, and close it after start() returned", name_));
  }
  if (!closed()) close_leased(all_fds);
  affinity_.end_lease();
  return absl::OkStatus();
}

void IOLoop::close_leased(bool all_fds) {
  // The queue first: from here on posts are refused and timeouts are empty handles, so that what a
  // destructor starts below does not outlive the loop.
  if (stall_monitor_ != nullptr) {
    internal::StallWatchdog::unwatch(*stall_monitor_);
    stall_monitor_.reset();
  }
  queue_->close();
  tasks_.close();
  timers_.clear();
  if (idle_wheel_ != nullptr) idle_wheel_->clear();
  handlers_.clear([all_fds](int fd, internal::EventHandler& handler) {
    if (all_fds) handler.close_fd(fd);
  });
  handlers_.release_removed();
  poller_.reset();
  streams_.reset();
  receive_buffer_.reset();
  send_buffer_.reset();
}

namespace internal {

absl::Status LoopAccess::add(IOLoop& loop, int fd, EventHandler& handler, uint32_t events,
                             Trigger trigger) {
  return loop.register_handler(fd, handler, events, trigger, /*internal=*/true);
}

absl::Status LoopAccess::update(IOLoop& loop, int fd, uint32_t events) {
  return loop.change_interest(fd, events, /*internal=*/true);
}

void LoopAccess::remove(IOLoop& loop, int fd) {
  loop.affinity_.assert_here("remove_handler");
  loop.unregister_handler(fd);
}

void LoopAccess::remove_closing(IOLoop& loop, int fd) {
  loop.affinity_.assert_here("remove_handler");
  loop.unregister_handler(fd, /*closing=*/true);
}

void LoopAccess::for_each_handler(IOLoop& loop, const void* owner,
                                  absl::FunctionRef<void(EventHandler&)> visit) {
  loop.affinity_.assert_here("the list of handlers");
  loop.handlers_.for_each([&](int, const HandlerTable::Registration& registration) {
    if (registration.handler->owner() == owner) visit(*registration.handler);
  });
}

FdWaiters& LoopAccess::fd_waiters(IOLoop& loop) { return loop.fd_waiters_; }

void LoopAccess::report_exception(IOLoop& loop, std::exception_ptr error) {
  loop.guard_.report(std::move(error));
}

bool LoopAccess::supports_edge(const IOLoop& loop) { return loop.poller_->supports_edge(); }

LoopCounters& LoopAccess::counters(IOLoop& loop) { return loop.counters_; }

std::shared_ptr<CallbackQueue> LoopAccess::queue(const IOLoop& loop) { return loop.queue_; }

namespace {

std::span<char> stream_buffer(std::unique_ptr<char[]>& buffer) {
  constexpr size_t kBytes = 64 * 1024;
  if (buffer == nullptr)
    buffer.reset(new char[kBytes]);  // not zeroed: a page is touched when it is used
  return {buffer.get(), kBytes};
}

}  // namespace

IdleWheel& LoopAccess::idle_wheel(IOLoop& loop) {
  loop.affinity_.assert_here("an idle timeout");
  if (loop.idle_wheel_ == nullptr) loop.idle_wheel_ = std::make_unique<IdleWheel>(loop.time());
  return *loop.idle_wheel_;
}

std::span<char> LoopAccess::receive_buffer(IOLoop& loop) {
  return stream_buffer(loop.receive_buffer_);
}
std::span<char> LoopAccess::send_buffer(IOLoop& loop) { return stream_buffer(loop.send_buffer_); }

std::shared_ptr<void>& LoopAccess::streams(IOLoop& loop) { return loop.streams_; }

}  // namespace internal
}  // namespace gyre
