#include "gyre/net/stream_context.h"

#include <memory>
#include <vector>

#include "absl/strings/str_format.h"
#include "gyre/loop/loop_access.h"

namespace gyre::internal {
namespace {

// Those of the loop's servers; whoever makes up new options for each stream does not fill it.
struct KnownContexts {
  static constexpr size_t kMost = 8;
  std::vector<StreamContextRef> contexts;
};

}  // namespace

absl::Status check(const IOStreamOptions& options) {
  const auto check_timeout = [](const char* name, std::chrono::nanoseconds timeout) {
    if (timeout >= timeout.zero()) return absl::OkStatus();
    return absl::InvalidArgumentError(
        absl::StrFormat("IOStreamOptions::%s is negative: %d ns", name, timeout.count()));
  };
  if (options.max_buffer_size == 0) {
    return absl::InvalidArgumentError("IOStreamOptions::max_buffer_size is 0");
  }
  absl::Status status = check_timeout("idle_timeout", options.idle_timeout);
  status.Update(check_timeout("read_timeout", options.read_timeout));
  status.Update(check_timeout("write_timeout", options.write_timeout));
  status.Update(check_timeout("connect_timeout", options.connect_timeout));
  return status;
}

absl::StatusOr<StreamContextRef> StreamContext::of(IOLoop& loop, const IOStreamOptions& options) {
  std::shared_ptr<void>& slot = LoopAccess::streams(loop);
  if (slot == nullptr) slot = std::make_shared<KnownContexts>();
  std::vector<StreamContextRef>& known = static_cast<KnownContexts*>(slot.get())->contexts;
  for (const StreamContextRef& context : known) {
    if (context->options == options) return context;
  }
  if (absl::Status status = check(options); !status.ok()) return status;
  if (known.size() == KnownContexts::kMost) known.erase(known.begin());
  known.emplace_back(new StreamContext(loop, options));
  return known.back();
}

StreamContext::StreamContext(IOLoop& loop, const IOStreamOptions& options)
    : loop(loop),
      counters(LoopAccess::counters(loop)),
      edge_triggered(LoopAccess::supports_edge(loop)),
      receive_buffer(LoopAccess::receive_buffer(loop)),
      cork_buffer(LoopAccess::send_buffer(loop)),
      options(options) {}

void StreamContext::make_wheel() { wheel_ = &LoopAccess::idle_wheel(loop); }

}  // namespace gyre::internal
