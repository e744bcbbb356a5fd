#include "gyre/loop/callback_guard.h"

#include "gyre/loop/log.h"

namespace gyre::internal {

std::string describe_exception(const std::exception_ptr& error) {
#if defined(__cpp_exceptions)
  if (error == nullptr) return "no exception";
  try {
    std::rethrow_exception(error);
  } catch (const std::exception& e) {
    return e.what();
  } catch (...) {
    return "an exception that is no std::exception";
  }
#else
  static_cast<void>(error);
  return "an error (built without exceptions)";
#endif
}

void CallbackGuard::report(std::exception_ptr error) {
  exceptions_.fetch_add(1, std::memory_order_relaxed);
  const std::shared_ptr<ExceptionHandler> handler = handler_;
  if (handler == nullptr) {
    logf(LogLevel::kError, "loop %s: a callback threw: %s", loop_name_, describe_exception(error));
    return;
  }
#if defined(__cpp_exceptions)
  try {
    (*handler)(std::move(error));
  } catch (...) {
    logf(LogLevel::kError, "loop %s: the exception handler threw: %s", loop_name_,
         describe_exception(std::current_exception()));
  }
#else
  (*handler)(std::move(error));
#endif
}

void CallbackGuard::set_handler(ExceptionHandler handler) {
  handler_ = handler ? std::make_shared<ExceptionHandler>(std::move(handler)) : nullptr;
}

}  // namespace gyre::internal
