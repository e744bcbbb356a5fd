#ifndef GYRE_BENCHMARKS_MACHINE_H_
#define GYRE_BENCHMARKS_MACHINE_H_

#include <string>
#include <utility>
#include <vector>

namespace gyre::benchmarks {

// What a figure depends on beside the program, as name and value: the CPUs, their caches, whether
// they share cores, the kernel, the governor, the cgroup's quota, the load when it was asked. What
// the platform does not tell is "unknown".
using MachineDescription = std::vector<std::pair<std::string, std::string>>;

MachineDescription describe_machine();

}  // namespace gyre::benchmarks

#endif  // GYRE_BENCHMARKS_MACHINE_H_
