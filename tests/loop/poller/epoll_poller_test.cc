// What is epoll's own: waits of less than a millisecond, where the kernel has epoll_pwait2(2) and
// where it has not. In real time, for it is the kernel that waits.

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdlib>
#include <iterator>
#include <memory>
#include <vector>

#include "gtest/gtest.h"
#include "gyre/loop/poller/epoll_poller.h"

namespace gyre::internal {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::nanoseconds;
using Clock = std::chrono::steady_clock;

std::unique_ptr<Poller> make() {
  absl::StatusOr<std::unique_ptr<Poller>> poller = EpollPoller::create();
  return poller.ok() ? *std::move(poller) : nullptr;
}

nanoseconds waited(Poller& poller, nanoseconds timeout) {
  const Clock::time_point start = Clock::now();
  poller.wait(timeout);
  return Clock::now() - start;
}

#if defined(SYS_epoll_pwait2)

// From now on the kernel does `action` with each epoll_pwait2 of this process. Not to be undone.
bool intercept_pwait2(unsigned action) {
  sock_filter program[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_epoll_pwait2, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, action),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const sock_fprog filter{std::size(program), program};
  return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
}

bool kernel_has_pwait2() {
  return ::syscall(SYS_epoll_pwait2, -1, nullptr, 0, nullptr, nullptr, 0) == -1 &&
         errno != ENOSYS && errno != EPERM;
}

TEST(EpollPoller, AWaitOfAFractionOfAMillisecondTakesNoWholeOne) {
  if (!kernel_has_pwait2()) GTEST_SKIP() << "this kernel has no epoll_pwait2(2)";
  std::unique_ptr<Poller> poller = make();
  std::vector<nanoseconds> times;
  for (int i = 0; i < 100; ++i) times.push_back(waited(*poller, microseconds(100)));
  std::sort(times.begin(), times.end());
  EXPECT_GE(times.front(), microseconds(100)) << "early";
  EXPECT_LT(times[10], microseconds(900)) << "the best tenth";
}

constexpr int kNoSeccomp = 77, kPassed = 0, kEarly = 1, kNotWaited = 2;

// In a process of its own. `error`: how that kernel, or a sandbox, says that it has no such call.
void wait_without_pwait2(int error) {
  if (!intercept_pwait2(SECCOMP_RET_ERRNO | error)) std::_Exit(kNoSeccomp);
  std::unique_ptr<Poller> poller = make();
  if (waited(*poller, microseconds(1500)) < microseconds(1500)) std::_Exit(kEarly);
  // It is known now: asking again would cost a system call for each wait. The harsher filter wins.
  if (!intercept_pwait2(SECCOMP_RET_KILL_PROCESS)) std::_Exit(kNoSeccomp);
  for (int i = 0; i < 10; ++i) {
    if (waited(*poller, microseconds(300)) < microseconds(300)) std::_Exit(kEarly);
  }
  std::unique_ptr<Poller> another = make();
  if (waited(*another, milliseconds(1)) < milliseconds(1)) std::_Exit(kEarly);
  another->wake();
  if (!another->wait(std::chrono::hours(24 * 365)).woken) std::_Exit(kNotWaited);
  std::_Exit(kPassed);
}

TEST(EpollPoller, WithoutPwait2WaitsAreRoundedUpAndTheKernelIsAskedOnce) {
  const auto passed_or_impossible = [](int status) {
    return WIFEXITED(status) &&
           (WEXITSTATUS(status) == kPassed || WEXITSTATUS(status) == kNoSeccomp);
  };
  EXPECT_EXIT(wait_without_pwait2(ENOSYS), passed_or_impossible, "");
  EXPECT_EXIT(wait_without_pwait2(EPERM), passed_or_impossible, "");
}

#endif

}  // namespace
}  // namespace gyre::internal
