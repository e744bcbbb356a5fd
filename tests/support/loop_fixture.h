#ifndef GYRE_TESTS_SUPPORT_LOOP_FIXTURE_H_
#define GYRE_TESTS_SUPPORT_LOOP_FIXTURE_H_

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "gyre/loop/io_loop.h"
#include "gyre/testing/virtual_time.h"
#include "gyre/tests/support/event.h"
#include "gyre/tests/support/log_capture.h"

namespace gyre::testing {

// What time is to the loops of a test.
enum class TestTime {
  // Stands still: a loop that waits for a deadline fails the test. Limits that only a failing test
  // comes to are none, and count.
  kNone,
  // Jumps to where a loop would sleep to, see gyre/testing/virtual_time.h.
  kVirtual,
  // The kernel's, for a test whose claim is about it. tests/lint has the list of these, with the
  // reasons.
  kReal,
};

// A loop of one backend. The log is watched for the time of the test.
class LoopTest : public ::testing::TestWithParam<Backend> {
 protected:
  explicit LoopTest(TestTime time = TestTime::kNone);
  ~LoopTest() override;

  // A further loop of the same backend, in the same time unless it has a clock of its own. It does
  // not become current. Without options its time slice is endless: on a busy machine the end of one
  // could come between any two callbacks.
  std::unique_ptr<IOLoop> make_loop(std::string name = "other");
  std::unique_ptr<IOLoop> make_loop(IOLoopOptions options);

  // start(), which has to return after a stop() before the deadline.
  static void run(IOLoop& loop);
  void run() { run(*loop_); }

  // Runs until `polls` polls have come since the call, and what was queued before ran.
  static void run_turns(IOLoop& loop, int polls = 1);
  void run_turns(int polls = 1) { run_turns(*loop_, polls); }

  // For one test among others with a different time: its loop_ is made anew, and the loops to come
  // are in that time too.
  void use_time(TestTime time);

  VirtualTime virtual_time_;  // its clock stands still with kNone, and has no part in kReal
  LogCapture log_;
  std::unique_ptr<IOLoop> loop_;

 private:
  TestTime time_;
};

// In virtual time.
class VirtualLoopTest : public LoopTest {
 protected:
  VirtualLoopTest() : LoopTest(TestTime::kVirtual) {}
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
