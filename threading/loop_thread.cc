#include "gyre/threading/loop_thread.h"

#include <future>
#include <system_error>

#include "absl/strings/str_format.h"
#include "gyre/loop/log.h"
#include "gyre/threading/cpu_affinity.h"

namespace gyre {
namespace {

absl::StatusOr<std::thread> start_thread(Callback body) {
#if defined(__cpp_exceptions)
  try {
    return std::thread(std::move(body));
  } catch (const std::system_error& error) {
    return absl::ResourceExhaustedError(absl::StrFormat(
        "a thread cannot be started: %s; ask for fewer, or raise the limit (ulimit -u, and a "
        "container's own)",
        error.what()));
  }
#else
  return std::thread(std::move(body));
#endif
}

}  // namespace

absl::StatusOr<std::unique_ptr<LoopThread>> LoopThread::create(LoopThreadOptions options) {
  IOLoopOptions loop_options;
  loop_options.backend = options.backend;
  loop_options.spin = options.spin;
  loop_options.name = options.name;
  loop_options.make_current = false;  // start() makes it current, in its own thread
  absl::StatusOr<std::unique_ptr<IOLoop>> loop = options.make_loop != nullptr
                                                     ? options.make_loop(std::move(loop_options))
                                                     : IOLoop::create(std::move(loop_options));
  if (!loop.ok()) return loop.status();
  std::unique_ptr<LoopThread> self(new LoopThread(std::move(*loop)));

  // Shared: set_value may still be returning when the waiting thread goes on.
  auto ready = std::make_shared<std::promise<absl::Status>>();
  std::future<absl::Status> started = ready->get_future();
  absl::StatusOr<std::thread> thread =
      start_thread([thread = self.get(), options = std::move(options), ready] {
        name_this_thread(options.name);
        if (options.batch) batch_this_thread();
        absl::Status status =
            options.cpu.has_value() ? pin_this_thread(*options.cpu) : absl::OkStatus();
        if (!status.ok()) return ready->set_value(std::move(status));
        thread->loop_->add_callback([ready] { ready->set_value(absl::OkStatus()); });
        thread->run(options);
      });
  if (!thread.ok()) return thread.status();
  self->thread_ = std::move(*thread);
  if (absl::Status status = started.get(); !status.ok()) return status;
  return self;
}

void LoopThread::run(const LoopThreadOptions& options) {
  const absl::Status status = loop_->start();
  if (!status.ok()) {
    logf(LogLevel::kError, "loop thread %s ended: %s", options.name, status.ToString());
  } else if (!stopping_.load(std::memory_order_acquire)) {
    // Somebody stopped the loop, not the thread. Posts to it succeed, and never run.
    logf(LogLevel::kWarning, "loop thread %s ended: its loop was stopped by itself", options.name);
  }
}

LoopThread::~LoopThread() {
  stop();
  join();
}

void LoopThread::stop() {
  stopping_.store(true, std::memory_order_release);
  loop_->stop();
}

void LoopThread::join() {
  if (!thread_.joinable()) return;
  GYRE_CHECK(
      thread_.get_id() != std::this_thread::get_id(),
      "the thread of loop \"%s\" joins itself: call stop() in a callback, and join() elsewhere",
      loop_->name());
  thread_.join();
}

}  // namespace gyre
