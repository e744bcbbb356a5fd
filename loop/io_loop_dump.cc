// What is on a loop, as text.

#include <algorithm>
#include <map>
#include <vector>

#include "absl/strings/str_format.h"
#include "gyre/loop/fd_description.h"
#include "gyre/loop/io_loop.h"

namespace gyre {
namespace {

double seconds(std::chrono::nanoseconds duration) {
  return std::chrono::duration<double>(duration).count();
}

std::string interest_names(uint32_t interest) {
  const bool reads = interest & IOLoop::READ, writes = interest & IOLoop::WRITE;
  if (reads && writes) return "READ|WRITE";
  return reads ? "READ" : writes ? "WRITE" : "nothing";
}

std::string count_of(uint64_t count, const char* what) {
  return absl::StrFormat("%d %s%s", count, what, count == 1 ? "" : "s");
}

}  // namespace

std::string IOLoop::activity() const {
  std::string text = absl::StrFormat("loop \"%s\" ", name_);
  if (closed()) return text + "is closed";
  if (!running()) return text + "does not run";
  if (counters_.polling.get() != 0) return text + "waits in its poller";
  int fd;
  const std::string what = counters_.running.to_string(&fd);
  text += absl::StrFormat("has not been in its poller for %.3f s; last it called %s",
                          seconds(time() - awake_since()), what);
  return fd < 0 ? text : absl::StrFormat("%s (%s)", text, internal::describe_fd(fd));
}

std::string IOLoop::dump() {
  affinity_.assert_here("dump");
  if (closed()) return absl::StrFormat("loop \"%s\" is closed\n", name_);
  std::string text = absl::StrFormat("loop \"%s\", %s: ", name_, gyre::to_string(backend_));
  dump_end(text);
  dump_counts(text);
  dump_handlers(text);
  dump_timers(text);
  dump_callbacks(text);
  if (const size_t tasks = tasks_.count(); tasks > 0)
    text += "  coroutines: " + count_of(tasks, "chain") + " not ended\n";
  if (idle_wheel_ != nullptr && !idle_wheel_->empty())
    text += "  idle timeouts: " + std::to_string(idle_wheel_->size()) + "\n";
  return text;
}

// What keeps the loop from ending: not its work, since a loop without any goes on, but that nobody
// has called stop().
void IOLoop::dump_end(std::string& text) {
  if (!running()) {
    text += "does not run; ";
  } else if (queue_->stop_requested()) {
    text += "stop() was called, it ends with this iteration; ";
  } else {
    text += "runs until stop() is called; ";
  }
  uint64_t callbacks = 0;
  queue_->for_each([&](CallSite) { ++callbacks; });
  text += absl::StrFormat("has %s, %s, %s\n", count_of(handlers_.size(), "handler"),
                          count_of(timers_.size(), "timeout"), count_of(callbacks, "callback"));
}

void IOLoop::dump_counts(std::string& text) const {
  const LoopMetrics m = metrics();
  text += absl::StrFormat(
      "  so far: %d iterations, %d events, %d callbacks, %d timeouts; busy %.1f %%; "
      "lag p99 %.6f s, max %.6f s\n",
      m.iterations, m.events, m.callbacks, m.timeouts, 100 * m.busy_share(),
      seconds(m.lag.quantile(0.99)), seconds(m.lag.max));
}

void IOLoop::dump_handlers(std::string& text) {
  const uint32_t now = internal::HandlerTable::tick_of(time());
  handlers_.for_each([&](int fd, const internal::HandlerTable::Registration& registration) {
    text += absl::StrFormat("  fd %d, %s: %s, for %.1f s, %s\n", fd, internal::describe_fd(fd),
                            interest_names(registration.interest),
                            (now - registration.added) * seconds(internal::HandlerTable::kTick),
                            registration.handler->describe());
  });
}

void IOLoop::dump_timers(std::string& text) {
  std::vector<std::pair<TimePoint, CallSite>> timers;
  timers_.for_each([&](TimePoint due, CallSite site) { timers.emplace_back(due, site); });
  std::sort(timers.begin(), timers.end(),
            [](const auto& a, const auto& b) { return a.first < b.first; });
  const TimePoint now = time();
  for (const auto& [due, site] : timers) {
    text += absl::StrFormat("  timeout, due in %.3f s, set at %s\n",
                            seconds(internal::saturating_sub(due, now)), site.to_string());
  }
}

// One line for all that were posted in the same place.
void IOLoop::dump_callbacks(std::string& text) {
  std::map<std::string, uint64_t> sites;
  queue_->for_each([&](CallSite site) { ++sites[site.to_string()]; });
  for (const auto& [site, count] : sites)
    text += absl::StrFormat("  %s, posted at %s\n", count_of(count, "callback"), site);
}

}  // namespace gyre
