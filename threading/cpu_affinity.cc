#include "gyre/threading/cpu_affinity.h"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <thread>

#include "absl/strings/str_format.h"
#include "gyre/loop/errno_status.h"

namespace gyre {
namespace {

std::string read_file(const std::string& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

// cgroup v2, cpu.max: "max 100000" or "150000 100000".
double limit_v2(const std::string& directory) {
  std::istringstream text(read_file(directory + "/cpu.max"));
  std::string quota;
  double period = 0;
  if (!(text >> quota >> period) || quota == "max" || period <= 0) return 0;
  return std::max(0.0, std::strtod(quota.c_str(), nullptr)) / period;
}

// cgroup v1: -1 for no quota.
double limit_v1(const std::string& directory) {
  const double quota = std::strtod(read_file(directory + "/cpu.cfs_quota_us").c_str(), nullptr);
  const double period = std::strtod(read_file(directory + "/cpu.cfs_period_us").c_str(), nullptr);
  return quota > 0 && period > 0 ? quota / period : 0;
}

// A limit holds for everything below it, so the smallest on the way to the root counts.
template <class Limit>
double smallest_limit(const std::string& mount, std::string group, Limit limit) {
  double smallest = 0;
  for (;;) {
    const double here = limit(mount + group);
    if (here > 0 && (smallest == 0 || here < smallest)) smallest = here;
    const size_t slash = group.rfind('/');
    if (slash == std::string::npos) return smallest;
    group.resize(slash);
  }
}

}  // namespace

namespace internal {

double cgroup_cpu_limit(const std::string& root, const std::string& membership) {
  // Lines "0::/path" (v2) and "4:cpu,cpuacct:/path" (v1); see cgroups(7).
  std::istringstream lines(membership);
  std::string line;
  double smallest = 0;
  while (std::getline(lines, line)) {
    const size_t first = line.find(':');
    const size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = "," + line.substr(first + 1, second - first - 1) + ",";
    std::string group = line.substr(second + 1);
    if (group == "/") group.clear();
    double limit = 0;
    if (controllers == ",,") {
      limit = smallest_limit(root, group, limit_v2);
    } else if (controllers.find(",cpu,") != std::string::npos) {
      limit = smallest_limit(root + "/cpu", group, limit_v1);
    }
    if (limit > 0 && (smallest == 0 || limit < smallest)) smallest = limit;
  }
  return smallest;
}

}  // namespace internal

int usable_cpus() {
  int cpus = static_cast<int>(affinity_mask().size());
  if (cpus == 0) cpus = static_cast<int>(std::thread::hardware_concurrency());
  const double limit = internal::cgroup_cpu_limit("/sys/fs/cgroup", read_file("/proc/self/cgroup"));
  if (limit > 0) cpus = std::min(cpus, static_cast<int>(limit));
  return std::max(cpus, 1);
}

#if defined(__linux__)

std::vector<int> affinity_mask() {
  // More CPUs than a fixed cpu_set_t holds: ask again with twice the room (sched_getaffinity(2)).
  for (int room = 1024; room <= 1 << 20; room *= 2) {
    std::vector<cpu_set_t> set(CPU_ALLOC_SIZE(room) / sizeof(cpu_set_t) + 1);
    const size_t bytes = set.size() * sizeof(cpu_set_t);
    CPU_ZERO_S(bytes, set.data());
    if (::sched_getaffinity(0, bytes, set.data()) != 0) continue;
    std::vector<int> cpus;
    for (int cpu = 0; cpu < static_cast<int>(bytes * 8); ++cpu) {
      if (CPU_ISSET_S(cpu, bytes, set.data())) cpus.push_back(cpu);
    }
    return cpus;
  }
  return {};
}

absl::Status pin_this_thread(int cpu) {
  if (cpu < 0 || cpu >= CPU_SETSIZE) {
    return absl::InvalidArgumentError(absl::StrFormat("CPU %d does not exist", cpu));
  }
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  const int error = ::pthread_setaffinity_np(::pthread_self(), sizeof(set), &set);
  if (error != 0)
    return internal::errno_status(error, absl::StrFormat("binding a thread to CPU %d", cpu));
  return absl::OkStatus();
}

#else

std::vector<int> affinity_mask() { return {}; }

absl::Status pin_this_thread(int) {
  return absl::UnimplementedError("binding a thread to a CPU is not possible on this platform");
}

#endif

void batch_this_thread() {
#if defined(SCHED_BATCH)
  const sched_param none{};
  ::pthread_setschedparam(::pthread_self(), SCHED_BATCH, &none);
#endif
}

void name_this_thread(std::string_view name) {
#if defined(__APPLE__)
  ::pthread_setname_np(std::string(name).c_str());
#else
  constexpr size_t kMaxBytes = 15;  // pthread_setname_np(3) refuses a longer one
  ::pthread_setname_np(::pthread_self(), std::string(name.substr(0, kMaxBytes)).c_str());
#endif
}

}  // namespace gyre
