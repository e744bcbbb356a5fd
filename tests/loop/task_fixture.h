#ifndef GYRE_TESTS_LOOP_TASK_FIXTURE_H_
#define GYRE_TESTS_LOOP_TASK_FIXTURE_H_

#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "gyre/loop/task.h"
#include "gyre/tests/support/loop_fixture.h"
#include "gyre/tests/support/on_destroy.h"

namespace gyre::testing {

// Coroutines on a loop of each backend, in virtual time.
class IOLoopTasks : public VirtualLoopTest {
 protected:
  OnDestroy note_destroyed(std::string name = "destroyed") {
    return OnDestroy([this, name] { seen_.push_back(name); });
  }

  std::vector<std::string> seen_;
};

inline Task<int> give(int value) { co_return value; }

}  // namespace gyre::testing

#endif  // GYRE_TESTS_LOOP_TASK_FIXTURE_H_
