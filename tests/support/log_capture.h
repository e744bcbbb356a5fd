#ifndef GYRE_TESTS_SUPPORT_LOG_CAPTURE_H_
#define GYRE_TESTS_SUPPORT_LOG_CAPTURE_H_

#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "gyre/loop/log.h"

namespace gyre::testing {

// Takes gyre's log for the time of one test. An ERROR or a WARNING that the test did not announce
// fails it, and so does one that was announced and did not come. Any thread.
class LogCapture {
 public:
  LogCapture();
  ~LogCapture();
  LogCapture(const LogCapture&) = delete;
  LogCapture& operator=(const LogCapture&) = delete;

  // One line of that level with this text is to come before the test ends.
  void expect(LogLevel level, std::string text);

  // Any number of lines with this text may come. They are not among those that are expected.
  void allow(std::string text);

  // The lines so far that contain `text`.
  int count(std::string_view text) const;

 private:
  class Sink;
  struct Line {
    LogLevel level;
    std::string message;
  };
  static Sink& sink();
  bool allows(std::string_view message) const;

  LogSink* const previous_;
  mutable std::mutex mutex_;
  std::vector<Line> expected_;
  std::vector<std::string> allowed_;
  std::vector<Line> unexpected_;
  std::vector<std::string> lines_;
};

}  // namespace gyre::testing

#endif  // GYRE_TESTS_SUPPORT_LOG_CAPTURE_H_
