#include "gyre/loop/task.h"

#include <string>
#include <utility>

#include "gyre/loop/log.h"

namespace gyre::internal {

void report_task_error(IOLoop& home, const std::shared_ptr<CallbackQueue>& home_queue,
                       std::exception_ptr error) {
  if (home_queue->running_here()) return LoopAccess::report_exception(home, std::move(error));
  const std::string description = describe_exception(error);
  // `home` is not touched unless it runs this. The exception goes with it: were there another
  // reference here, nobody knew which thread destroys it.
  const bool posted = home_queue->post(CallSite(), [&home, error = std::move(error)]() mutable {
    LoopAccess::report_exception(home, std::move(error));
  });
  if (!posted) {
    logf(LogLevel::kError, "a task threw after the loop that spawned it was closed: %s",
         description);
  }
}

}  // namespace gyre::internal
