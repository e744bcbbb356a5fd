#include "gyre/tests/support/log_capture.h"

#include <algorithm>

#include "gtest/gtest.h"

namespace gyre::testing {

// Never destroyed: a thread may be logging while its test ends.
class LogCapture::Sink : public LogSink {
 public:
  void write(LogLevel level, std::string_view message) override {
    std::lock_guard<std::mutex> lock(mutex_);
    if (capture_ == nullptr) return;
    std::lock_guard<std::mutex> capture_lock(capture_->mutex_);
    capture_->lines_.emplace_back(message);
    // First: what may come any number of times must not stand in for what has to.
    if (capture_->allows(message)) return;
    auto found =
        std::find_if(capture_->expected_.begin(), capture_->expected_.end(), [&](const Line& line) {
          return line.level == level && message.find(line.message) != std::string_view::npos;
        });
    if (found != capture_->expected_.end()) {
      capture_->expected_.erase(found);
    } else if (level != LogLevel::kInfo) {
      capture_->unexpected_.push_back({level, std::string(message)});
    }
  }

  void set(LogCapture* capture) {
    std::lock_guard<std::mutex> lock(mutex_);
    capture_ = capture;
  }

 private:
  std::mutex mutex_;
  LogCapture* capture_ = nullptr;
};

LogCapture::Sink& LogCapture::sink() {
  static auto* sink = new Sink;
  return *sink;
}

LogCapture::LogCapture() : previous_(set_log_sink(&sink())) { sink().set(this); }

LogCapture::~LogCapture() {
  sink().set(nullptr);
  set_log_sink(previous_);
  for (const Line& line : unexpected_) {
    ADD_FAILURE() << "unexpected in the log: " << to_string(line.level) << ": " << line.message;
  }
  for (const Line& line : expected_) {
    ADD_FAILURE() << "missing in the log: " << to_string(line.level) << ": ..." << line.message
                  << "...";
  }
}

void LogCapture::expect(LogLevel level, std::string text) {
  std::lock_guard<std::mutex> lock(mutex_);
  expected_.push_back({level, std::move(text)});
}

void LogCapture::allow(std::string text) {
  std::lock_guard<std::mutex> lock(mutex_);
  allowed_.push_back(std::move(text));
}

bool LogCapture::allows(std::string_view message) const {
  return std::any_of(allowed_.begin(), allowed_.end(), [&](const std::string& text) {
    return message.find(text) != std::string_view::npos;
  });
}

int LogCapture::count(std::string_view text) const {
  std::lock_guard<std::mutex> lock(mutex_);
  return static_cast<int>(std::count_if(lines_.begin(), lines_.end(), [&](const std::string& line) {
    return line.find(text) != std::string::npos;
  }));
}

}  // namespace gyre::testing
