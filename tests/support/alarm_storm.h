#ifndef GYRE_TESTS_SUPPORT_ALARM_STORM_H_
#define GYRE_TESTS_SUPPORT_ALARM_STORM_H_

#include <signal.h>
#include <sys/time.h>

#include <chrono>

#include "gtest/gtest.h"

namespace gyre::testing {

// SIGALRM for the process, again and again until the end of the scope. In the threads that do not
// block it.
class AlarmStorm {
 public:
  // `period` is less than a second; `flags` are those of sigaction(2).
  AlarmStorm(void (*handler)(int), std::chrono::microseconds period, int flags = 0) {
    struct sigaction action {};
    action.sa_handler = handler;
    action.sa_flags = flags;
    EXPECT_EQ(::sigaction(SIGALRM, &action, &previous_), 0);
    const timeval each{0, static_cast<suseconds_t>(period.count())};
    const itimerval often{each, each};
    EXPECT_EQ(::setitimer(ITIMER_REAL, &often, nullptr), 0);
  }
  AlarmStorm(const AlarmStorm&) = delete;
  AlarmStorm& operator=(const AlarmStorm&) = delete;
  ~AlarmStorm() {
    const itimerval never{};
    ::setitimer(ITIMER_REAL, &never, nullptr);
    // One that is pending would end the process by the former disposition.
    ::signal(SIGALRM, SIG_IGN);
    ::sigaction(SIGALRM, &previous_, nullptr);
  }

 private:
  struct sigaction previous_ {};
};

}  // namespace gyre::testing

#endif  // GYRE_TESTS_SUPPORT_ALARM_STORM_H_
