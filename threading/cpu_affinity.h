#ifndef GYRE_THREADING_CPU_AFFINITY_H_
#define GYRE_THREADING_CPU_AFFINITY_H_

#include "gyre/loop/cxx20.h"  // before all else

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

namespace gyre {

// How many CPUs this process may use at once: those of its affinity mask, or fewer where a cgroup's
// quota (cpu.max, cpu.cfs_quota_us) allows less; rounded down, at least 1. Any thread. Reads files.
int usable_cpus();

// The CPUs of the calling thread's affinity mask, in order; empty where the platform does not say.
std::vector<int> affinity_mask();

// Binds the calling thread to one CPU. InvalidArgument for one that does not exist or is not
// allowed, Unimplemented where the platform cannot.
absl::Status pin_this_thread(int cpu);

// From now on the calling thread, as it wakes, waits for a CPU instead of taking it from a thread
// that runs (SCHED_BATCH, sched(7)). Nothing happens where there is no such policy.
void batch_this_thread();

// Names the calling thread, for debuggers and ps; cut to what the platform allows (Linux: 15
// bytes).
void name_this_thread(std::string_view name);

namespace internal {

// How many CPUs a cgroup's limit allows, which may be a fraction; 0: there is no limit. `root` is
// where the cgroup file systems are mounted and `membership` the text of /proc/self/cgroup; tests
// give their own.
double cgroup_cpu_limit(const std::string& root, const std::string& membership);

}  // namespace internal
}  // namespace gyre

#endif  // GYRE_THREADING_CPU_AFFINITY_H_
