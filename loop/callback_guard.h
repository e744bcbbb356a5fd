#ifndef GYRE_LOOP_CALLBACK_GUARD_H_
#define GYRE_LOOP_CALLBACK_GUARD_H_

#include <atomic>
#include <cstdint>
#include <exception>
#include <memory>
#include <string>
#include <utility>

#include "gyre/loop/callback.h"

namespace gyre::internal {

// The one place where user code is called, and where its exceptions end: they go to the handler,
// and the loop goes on. Loop thread only.
class CallbackGuard {
 public:
  explicit CallbackGuard(std::string loop_name) : loop_name_(std::move(loop_name)) {}

  template <class F>
  void run(F&& f) {
#if defined(__cpp_exceptions)
    try {
      f();
    } catch (...) {
      report(std::current_exception());
    }
#else
    f();
#endif
  }

  // Hands `error` to the handler, or logs it where there is none. What the handler throws is
  // logged.
  void report(std::exception_ptr error);

  void set_handler(ExceptionHandler handler);
  uint64_t exceptions() const { return exceptions_.load(std::memory_order_relaxed); }

 private:
  const std::string loop_name_;
  // Shared, because a handler may replace itself.
  std::shared_ptr<ExceptionHandler> handler_;
  std::atomic<uint64_t> exceptions_{0};
};

// What `error` says of itself.
std::string describe_exception(const std::exception_ptr& error);

}  // namespace gyre::internal

#endif  // GYRE_LOOP_CALLBACK_GUARD_H_
