#include "gyre/loop/running_call.h"

#include "absl/strings/str_format.h"

namespace gyre::internal {

std::string RunningCall::to_string(int* fd) const {
  *fd = -1;
  const uint64_t word = word_.load(std::memory_order_relaxed);
  const uint64_t detail = word & ((uint64_t{1} << kKindShift) - 1);
  switch (static_cast<Kind>(word >> kKindShift)) {
    case kCallback:
      return absl::StrFormat("a callback, posted at %s", CallSite::from_word(detail).to_string());
    case kTimeout:
      return absl::StrFormat("a timeout, set at %s", CallSite::from_word(detail).to_string());
    case kHandler:
      break;
  }
  if (detail == kNothing) return "nothing";
  if (detail == kIdleTimeout) return "an idle timeout";
  *fd = static_cast<int>(detail);
  return absl::StrFormat("the handler of fd %d", *fd);
}

}  // namespace gyre::internal
