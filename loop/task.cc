#include "gyre/loop/task.h"

#include "gyre/loop/log.h"

namespace gyre::internal {

void report_task_error(IOLoop& home, const std::shared_ptr<CallbackQueue>& home_queue,
                       std::exception_ptr error) {
  if (home_queue->running_here()) return LoopAccess::report_exception(home, std::move(error));
  // `home` is not touched unless it runs this.
  const bool posted =
      home_queue->post(CallSite(), [&home, error] { LoopAccess::report_exception(home, error); });
  if (!posted) {
    logf(LogLevel::kError, "a task threw after the loop that spawned it was closed: %s",
         describe_exception(error));
  }
}

}  // namespace gyre::internal
