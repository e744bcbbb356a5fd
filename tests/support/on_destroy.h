#ifndef GYRE_TESTS_SUPPORT_ON_DESTROY_H_
#define GYRE_TESTS_SUPPORT_ON_DESTROY_H_

#include <functional>
#include <memory>
#include <utility>

namespace gyre::testing {

// Calls a function when it is destroyed, unless it was moved from. For lambdas to capture.
class OnDestroy {
 public:
  explicit OnDestroy(std::function<void()> function)
      : function_(std::make_unique<std::function<void()>>(std::move(function))) {}
  OnDestroy(OnDestroy&&) = default;
  OnDestroy& operator=(OnDestroy&&) = delete;
  ~OnDestroy() {
    if (function_ != nullptr) (*function_)();
  }

 private:
  std::unique_ptr<std::function<void()>> function_;
};

}  // namespace gyre::testing

#endif  // GYRE_TESTS_SUPPORT_ON_DESTROY_H_
