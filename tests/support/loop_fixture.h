#ifndef GYRE_TESTS_SUPPORT_LOOP_FIXTURE_H_
#define GYRE_TESTS_SUPPORT_LOOP_FIXTURE_H_

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "gyre/loop/io_loop.h"
#include "gyre/tests/support/event.h"
#include "gyre/tests/support/log_capture.h"

namespace gyre::testing {

// A loop of one backend. The log is watched for the time of the test.
class LoopTest : public ::testing::TestWithParam<Backend> {
 protected:
  LoopTest();
  ~LoopTest() override;

  // A further loop of the same backend. It does not become current. Without options its time slice
  // is endless: on a busy machine the end of one could come between any two callbacks.
  std::unique_ptr<IOLoop> make_loop(std::string name = "other");
  std::unique_ptr<IOLoop> make_loop(IOLoopOptions options);

  // start(), which has to return after a stop() before the deadline.
  static void run(IOLoop& loop);
  void run() { run(*loop_); }

  // Runs until `polls` polls have come since the call, and what was queued before ran.
  static void run_turns(IOLoop& loop, int polls = 1);
  void run_turns(int polls = 1) { run_turns(*loop_, polls); }

  LogCapture log_;
  std::unique_ptr<IOLoop> loop_;
};

// A thread that runs a loop, from the constructor to stop().
class LoopInThread {
 public:
  explicit LoopInThread(IOLoop& loop);
  ~LoopInThread() { stop(); }

  // Stops the loop and ends the thread. Idempotent.
  void stop();

 private:
  IOLoop& loop_;
  std::thread thread_;
};

// Those that are compiled in, and kqueue over the double of its kernel where the system has none:
// from the first call on it is a backend like the others, for the pool and the servers too.
std::vector<Backend> all_backends();

// For TEST_P suites: once for each of all_backends().
#define GYRE_FOR_EACH_BACKEND(suite)                                                              \
  INSTANTIATE_TEST_SUITE_P(Backends, suite, ::testing::ValuesIn(::gyre::testing::all_backends()), \
                           [](const ::testing::TestParamInfo<::gyre::Backend>& info) {            \
                             return std::string(::gyre::to_string(info.param));                   \
                           })

}  // namespace gyre::testing

#endif  // GYRE_TESTS_SUPPORT_LOOP_FIXTURE_H_
