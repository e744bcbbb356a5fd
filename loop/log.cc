#include "gyre/loop/log.h"

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>

namespace gyre {
namespace {

std::atomic<LogSink*> g_sink{nullptr};

}  // namespace

std::string_view to_string(LogLevel level) {
  switch (level) {
    case LogLevel::kInfo:
      return "INFO";
    case LogLevel::kWarning:
      return "WARNING";
    case LogLevel::kError:
      return "ERROR";
  }
  return "UNKNOWN";
}

LogSink* set_log_sink(LogSink* sink) { return g_sink.exchange(sink, std::memory_order_acq_rel); }

void log(LogLevel level, std::string_view message) {
  if (LogSink* sink = g_sink.load(std::memory_order_acquire)) return sink->write(level, message);
  // One fwrite: lines of several threads do not mix.
  std::string line = absl::StrFormat("gyre %s: %s\n", to_string(level), message);
  std::fwrite(line.data(), 1, line.size(), stderr);
}

bool LogRateLimiter::allow(uint64_t* suppressed) {
  const int64_t second = std::chrono::duration_cast<std::chrono::seconds>(
                             std::chrono::steady_clock::now().time_since_epoch())
                             .count();
  int64_t next = next_second_.load(std::memory_order_relaxed);
  if (second < next ||
      !next_second_.compare_exchange_strong(next, second + 1, std::memory_order_relaxed)) {
    suppressed_.fetch_add(1, std::memory_order_relaxed);
    return false;
  }
  *suppressed = suppressed_.exchange(0, std::memory_order_relaxed);
  return true;
}

namespace internal {

void check_failed(const char* file, int line, const std::string& message) {
  std::fprintf(stderr, "gyre: %s:%d: %s\n", file, line, message.c_str());
  std::fflush(stderr);
  std::abort();
}

}  // namespace internal
}  // namespace gyre
