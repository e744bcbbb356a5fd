#include "gyre/benchmarks/machine.h"

#include <sys/utsname.h>
#include <unistd.h>

#include <ctime>
#include <fstream>
#include <set>
#include <sstream>

#include "absl/strings/str_format.h"
#include "gyre/threading/cpu_affinity.h"

namespace gyre::benchmarks {
namespace {

constexpr char kUnknown[] = "unknown";
constexpr char kCpus[] = "/sys/devices/system/cpu/";

std::string first_line(const std::string& path) {
  std::string line;
  std::getline(std::ifstream(path), line);
  return line;
}
std::string first_line_or_unknown(const std::string& path) {
  const std::string line = first_line(path);
  return line.empty() ? kUnknown : line;
}

std::string cpu_model() {
  std::ifstream lines("/proc/cpuinfo");
  for (std::string line; std::getline(lines, line);) {
    const size_t colon = line.find(": ");
    if (line.starts_with("model name") && colon != std::string::npos) return line.substr(colon + 2);
  }
  return kUnknown;
}

// How many sets of CPUs a topology file names over all CPUs.
size_t count_distinct(const std::string& file) {
  std::set<std::string> distinct;
  const long cpus = ::sysconf(_SC_NPROCESSORS_CONF);
  for (long cpu = 0; cpu < cpus; ++cpu) {
    const std::string value =
        first_line(std::string(kCpus) + "cpu" + std::to_string(cpu) + "/" + file);
    if (!value.empty()) distinct.insert(value);
  }
  return distinct.size();
}

std::string threads_and_cores() {
  const size_t cores = count_distinct("topology/core_cpus_list");
  const size_t sockets = count_distinct("topology/package_cpus_list");
  if (cores == 0 || sockets == 0) return kUnknown;
  return absl::StrFormat("%d cores on %d sockets, SMT %s", cores, sockets,
                         first_line(std::string(kCpus) + "smt/active") == "1" ? "on" : "off");
}

std::string caches() {
  std::string text;
  for (int i = 0; i < 8; ++i) {
    const std::string folder = std::string(kCpus) + "cpu0/cache/index" + std::to_string(i) + "/";
    const std::string level = first_line(folder + "level"), type = first_line(folder + "type");
    if (level.empty()) break;
    text += absl::StrFormat("%sL%s%s %s (CPUs %s)", text.empty() ? "" : ", ", level,
                            type == "Data"          ? "d"
                            : type == "Instruction" ? "i"
                                                    : "",
                            first_line(folder + "size"), first_line(folder + "shared_cpu_list"));
  }
  return text.empty() ? kUnknown : text;
}

std::string kernel() {
  utsname name{};
  if (::uname(&name) != 0) return kUnknown;
  return absl::StrFormat("%s %s %s", name.sysname, name.release, name.machine);
}

std::string quota() {
  std::ifstream file("/proc/self/cgroup");
  std::ostringstream membership;
  membership << file.rdbuf();
  const double limit = internal::cgroup_cpu_limit("/sys/fs/cgroup", membership.str());
  return limit > 0 ? absl::StrFormat("%.2f CPUs", limit) : "none";
}

std::string now() {
  const std::time_t seconds = std::time(nullptr);
  std::tm broken_down{};
  ::gmtime_r(&seconds, &broken_down);
  char text[64];
  return {text, std::strftime(text, sizeof(text), "%Y-%m-%d %H:%M UTC", &broken_down)};
}

std::string compiler() {
#if defined(__clang__)
  const std::string name = absl::StrFormat("clang %s", __clang_version__);
#elif defined(__GNUC__)
  const std::string name = absl::StrFormat("g++ %s", __VERSION__);
#else
  const std::string name = kUnknown;
#endif
#if defined(__OPTIMIZE__)
  return name + ", optimised";
#else
  return name + ", NOT optimised: build with -c opt";
#endif
}

}  // namespace

MachineDescription describe_machine() {
  return {
      {"CPU", cpu_model()},
      {"CPUs", absl::StrFormat("%d, usable by this process: %d", ::sysconf(_SC_NPROCESSORS_ONLN),
                               usable_cpus())},
      {"Cores", threads_and_cores()},
      {"Caches", caches()},
      {"Kernel", kernel()},
      {"Governor", first_line_or_unknown(std::string(kCpus) + "cpu0/cpufreq/scaling_governor")},
      {"Idle driver", first_line_or_unknown(std::string(kCpus) + "cpuidle/current_driver")},
      {"cgroup CPU quota", quota()},
      {"Load average before", first_line_or_unknown("/proc/loadavg")},
      {"Compiler", compiler()},
      {"Date", now()},
  };
}

}  // namespace gyre::benchmarks
