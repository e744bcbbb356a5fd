#ifndef GYRE_BENCHMARKS_THREAD_USAGE_H_
#define GYRE_BENCHMARKS_THREAD_USAGE_H_

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <string_view>

namespace gyre::benchmarks {

// What threads have used since they began, as the kernel counts it.
struct ThreadUsage {
  std::chrono::nanoseconds cpu{0};  // on a CPU, in user space and in the kernel
  uint64_t sleeps = 0;              // gave the CPU away to wait: voluntary context switches

  ThreadUsage operator-(const ThreadUsage& earlier) const {
    return {cpu - earlier.cpu, sleeps - earlier.sleeps};
  }
};

// The sum over the living threads of a process (0: this one) whose name begins with `prefix`. From
// /proc/PID/task/*/schedstat, which counts nanoseconds where getrusage(2) may count ticks; zero
// where there is no such file. Any thread.
ThreadUsage usage_of_threads(pid_t process, std::string_view prefix = "");

}  // namespace gyre::benchmarks

#endif  // GYRE_BENCHMARKS_THREAD_USAGE_H_
