#ifndef GYRE_TESTS_LOOP_IO_LOOP_LIFECYCLE_FIXTURE_H_
#define GYRE_TESTS_LOOP_IO_LOOP_LIFECYCLE_FIXTURE_H_

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "gyre/loop/io_loop.h"
#include "gyre/tests/support/loop_fixture.h"

namespace gyre::testing {

inline IOLoop* current() { return IOLoop::current(/*instance=*/false); }

// No thread has a current loop but by the test, and there is no instance.
class IOLoopLifecycle : public VirtualLoopTest {
 protected:
  IOLoopLifecycle() { IOLoop::clear_instance(); }
  ~IOLoopLifecycle() override { IOLoop::clear_instance(); }

  absl::StatusOr<std::unique_ptr<IOLoop>> create(std::optional<bool> make_current) {
    IOLoopOptions options;
    options.backend = GetParam();
    options.make_current = make_current;
    return IOLoop::create(std::move(options));
  }
  std::function<void()> note(std::string name) {
    return [this, name] { seen_.push_back(name); };
  }

  std::vector<std::string> seen_;
};

}  // namespace gyre::testing

#endif  // GYRE_TESTS_LOOP_IO_LOOP_LIFECYCLE_FIXTURE_H_
