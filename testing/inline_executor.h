#ifndef GYRE_TESTING_INLINE_EXECUTOR_H_
#define GYRE_TESTING_INLINE_EXECUTOR_H_

#include <utility>

#include "gyre/loop/executor.h"

namespace gyre::testing {

// Runs the work at once, in the thread that hands it over: for IOLoop::set_default_executor, so
// that run_in_executor is done in no time, and in simulated time too. Any thread.
class InlineExecutor final : public Executor {
 public:
  bool execute(Callback work) override {
    std::move(work)();
    return true;
  }
};

}  // namespace gyre::testing

#endif  // GYRE_TESTING_INLINE_EXECUTOR_H_
