#ifndef GYRE_LOOP_LOG_H_
#define GYRE_LOOP_LOG_H_

#include "gyre/loop/cxx20.h"  // before all else

#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/strings/str_format.h"

namespace gyre {

enum class LogLevel { kInfo, kWarning, kError };

std::string_view to_string(LogLevel level);

// Receives what gyre has to say. The default writes one line to stderr.
// Any thread: write() is called from whichever thread logs, possibly from several at once.
class LogSink {
 public:
  virtual ~LogSink() = default;
  virtual void write(LogLevel level, std::string_view message) = 0;
};

// Sends gyre's log to `sink` (borrowed; nullptr: back to stderr) and returns the previous one.
// Any thread, but a sink that was replaced may still be in use by a thread that was logging.
LogSink* set_log_sink(LogSink* sink);

// Any thread.
void log(LogLevel level, std::string_view message);

template <class... A>
void logf(LogLevel level, const absl::FormatSpec<A...>& format, const A&... args) {
  log(level, absl::StrFormat(format, args...));
}

// Lets one message through each second, so that what happens ten thousand times is not written ten
// thousand times. Any thread.
class LogRateLimiter {
 public:
  // True: log it. *suppressed: how many were not, since the last one that was.
  bool allow(uint64_t* suppressed);

 private:
  std::atomic<int64_t> next_second_{0};
  std::atomic<uint64_t> suppressed_{0};
};

namespace internal {
// Prints the message and aborts. Not through the sink: a programmer's error has to be seen.
[[noreturn]] void check_failed(const char* file, int line, const std::string& message);
}  // namespace internal

// A programmer's error: prints what was misused, in the words of the public interface, and aborts.
// In every build, since what follows would be undefined.
#define GYRE_CHECK(condition, ...)                                                        \
  do {                                                                                    \
    if (!(condition)) [[unlikely]]                                                        \
      ::gyre::internal::check_failed(__FILE__, __LINE__, ::absl::StrFormat(__VA_ARGS__)); \
  } while (false)

}  // namespace gyre

#endif  // GYRE_LOOP_LOG_H_
