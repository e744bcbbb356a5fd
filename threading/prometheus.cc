#include "gyre/threading/prometheus.h"

#include <algorithm>
#include <cstdlib>

#include "absl/strings/str_format.h"

namespace gyre {
namespace {

// A quote has an escape in the value of a label, and must not have one in a help text.
std::string escaped(std::string_view text, bool in_quotes) {
  std::string result;
  for (const char c : text) {
    if (c == '\n') {
      result += "\\n";
      continue;
    }
    if (c == '\\' || (c == '"' && in_quotes)) result += '\\';
    result += c;
  }
  return result;
}

std::string braced(const PrometheusText::Labels& labels, std::string_view limit = {}) {
  std::string text;
  const auto append = [&text](std::string_view name, std::string_view value) {
    text += text.empty() ? "{" : ",";
    text.append(name).append("=\"").append(escaped(value, true)).append("\"");
  };
  for (const auto& [name, value] : labels) append(name, value);
  if (!limit.empty()) append("le", limit);
  return text.empty() ? text : text + "}";
}

}  // namespace

PrometheusText::Value::Value(double value) : text_(absl::StrFormat("%.15g", value)) {
  // C's spelling differs.
  if (text_ == "inf") text_ = "+Inf";
  if (text_ == "-inf") text_ = "-Inf";
  if (text_ == "nan" || text_ == "-nan") text_ = "NaN";
}

PrometheusText::Value::Value(std::chrono::nanoseconds value) {
  constexpr int64_t kNano = 1'000'000'000;
  const int64_t count = value.count();
  text_ = absl::StrFormat("%s%d.%09d", count < 0 ? "-" : "", std::abs(count / kNano),
                          std::abs(count % kNano));
  text_.erase(std::max(text_.find_last_not_of('0'), text_.find('.') + 1) + 1);
}

PrometheusText::Family& PrometheusText::family(const char* type, std::string_view name,
                                               std::string_view help) {
  const auto it = std::find_if(families_.begin(), families_.end(),
                               [name](const Family& f) { return f.name == name; });
  if (it != families_.end()) return *it;
  families_.push_back(
      {std::string(name),
       absl::StrFormat("# HELP %s %s\n# TYPE %s %s\n", name, escaped(help, false), name, type),
       ""});
  return families_.back();
}

void PrometheusText::sample(const char* type, std::string_view name, std::string_view help,
                            const Labels& labels, const Value& value) {
  family(type, name, help).samples +=
      absl::StrFormat("%s%s %s\n", name, braced(labels), value.text());
}

// Prometheus counts what equals a bucket's limit (le: less or equal) in it, DurationHistogram in
// the next one: that is a nanosecond, and makes no difference.
void PrometheusText::histogram(std::string_view name, std::string_view help, const Labels& labels,
                               const DurationHistogram& histogram) {
  constexpr int kFirst = 12, kLast = 32;
  std::string& samples = family("histogram", name, help).samples;
  const auto bucket = [&](const std::string& limit, uint64_t count) {
    samples += absl::StrFormat("%s_bucket%s %d\n", name, braced(labels, limit), count);
  };
  for (int power = kFirst; power <= kLast; ++power) {
    const std::chrono::nanoseconds limit(int64_t{1} << power);
    bucket(Value(limit).text(), histogram.count_below(limit));
  }
  bucket("+Inf", histogram.count());
  samples += absl::StrFormat("%s_sum%s %s\n", name, braced(labels), Value(histogram.sum).text());
  samples += absl::StrFormat("%s_count%s %d\n", name, braced(labels), histogram.count());
}

void PrometheusText::add(const IOLoop& loop) {
  const LoopMetrics m = loop.metrics();
  const Labels labels = {{"loop", loop.name()}};
  const auto total = [&](const char* name, const char* help, const Value& value) {
    counter(name, help, labels, value);
  };
  const auto now = [&](const char* name, const char* help, const Value& value) {
    gauge(name, help, labels, value);
  };
  total("gyre_loop_iterations_total", "Turns of the loop.", m.iterations);
  total("gyre_loop_events_total", "Calls of handlers of file descriptors.", m.events);
  total("gyre_loop_callbacks_total", "Callbacks that ran.", m.callbacks);
  total("gyre_loop_timeouts_total", "Timeouts that ran.", m.timeouts);
  total("gyre_loop_exceptions_total", "Exceptions out of callbacks.", m.exceptions);
  total("gyre_loop_posts_total", "Callbacks from other threads and signals.", m.posts_from_outside);
  total("gyre_loop_wakeups_total", "Sleeps that another thread ended.", m.wakeups);
  total("gyre_loop_wakeups_saved_total", "Posts that needed no wake-up.", m.wakeups_saved);
  total("gyre_loop_spins_total", "Waits that began with a look around.", m.spins);
  total("gyre_loop_spins_won_total", "Looks around that found something.", m.spins_won);
  total("gyre_loop_busy_seconds_total", "Time outside of the poller.", m.busy);
  total("gyre_loop_idle_seconds_total", "Time in the poller.", m.idle);
  total("gyre_loop_received_bytes_total", "Bytes that streams have received.", m.bytes_received);
  total("gyre_loop_sent_bytes_total", "Bytes of streams that the kernel took.", m.bytes_sent);
  now("gyre_loop_connections", "Streams that are open.", m.connections);
  now("gyre_loop_handlers", "File descriptors that are watched.", m.handlers);
  now("gyre_loop_timers", "Timeouts that are set.", m.timers);
  now("gyre_loop_queue_depth", "Callbacks queued when an iteration began.", m.queue_depth);
  now("gyre_loop_queue_depth_max", "The most that were queued.", m.max_queue_depth);
  now("gyre_loop_away_seconds", "Since the loop left its poller; 0 while it waits.", m.away);
  now("gyre_loop_lag_max_seconds", "The longest iteration.", m.lag.max);
  now("gyre_loop_timer_lateness_max_seconds", "The latest timeout.", m.timer_lateness.max);
  now("gyre_loop_post_latency_max_seconds", "The slowest post that was timed.", m.post_latency.max);
  histogram("gyre_loop_lag_seconds", "How long iterations took outside of the poller.", labels,
            m.lag);
  histogram("gyre_loop_timer_lateness_seconds", "From when timeouts were due to when they ran.",
            labels, m.timer_lateness);
  histogram("gyre_loop_post_latency_seconds", "From a post to its run, of one post in 256.", labels,
            m.post_latency);
}

void PrometheusText::add(const LoopPool& pool) {
  for (size_t i = 0; i < pool.size(); ++i) add(pool.loop(i));
}

std::string PrometheusText::to_string() const {
  std::string text;
  for (const Family& family : families_) text += family.header + family.samples;
  return text;
}

}  // namespace gyre
