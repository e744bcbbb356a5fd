#include "gyre/net/drain_report.h"

#include "absl/strings/str_format.h"

namespace gyre {

std::string DrainReport::to_string() const {
  std::string text = absl::StrFormat("%d connections served, %d cut off after %.1f s", served,
                                     cut_off, std::chrono::duration<double>(took).count());
  if (last.has_value()) {
    text += absl::StrFormat("; the last was %s%s", last->to_string(),
                            last_was_cut_off ? ", cut off" : "");
  }
  if (!finished) text += "; not finished";
  return text;
}

}  // namespace gyre
