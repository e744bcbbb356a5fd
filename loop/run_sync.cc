#include "gyre/loop/run_sync.h"

#include <utility>

#include "absl/strings/str_format.h"
#include "gyre/loop/io_loop.h"

namespace gyre::internal {

SyncRunBase::SyncRunBase(IOLoop& loop) : loop_(loop), queue_(LoopAccess::queue(loop)) {}

void SyncRunBase::finish() {
  if (over_) return;
  finished_ = true;
  loop_.stop();
}

void SyncRunBase::finish_elsewhere(const std::shared_ptr<SyncRunBase>& run) {
  if (run->queue_->running_here()) return run->finish();
  // Not stop() from here: it could end a later run, if this one is over by then.
  run->queue_->post(CallSite(), [run] { run->finish(); });
}

void SyncRunBase::time_out() {
  if (over_) return;
  timed_out_ = true;
  loop_.stop();
}

void SyncRunBase::end() {
  over_ = true;
  if (root_ != nullptr && !finished_) root_->abandon(loop_);
  root_.reset();
}

absl::Status SyncRunBase::outcome() {
  if (finished_) {
    // The last reference is the caller's: what it catches is destroyed in its thread.
    if (error_ != nullptr) std::rethrow_exception(std::exchange(error_, nullptr));
    return absl::OkStatus();
  }
  if (timed_out_) {
    return absl::DeadlineExceededError(
        absl::StrFormat("run_sync on loop \"%s\" timed out", loop_.name()));
  }
  return absl::CancelledError(
      absl::StrFormat("loop \"%s\" was stopped before run_sync had its result", loop_.name()));
}

}  // namespace gyre::internal
