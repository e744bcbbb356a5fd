#include "gyre/benchmarks/thread_usage.h"

#include <filesystem>
#include <fstream>
#include <string>

namespace gyre::benchmarks {
namespace {

uint64_t sleeps_of(const std::filesystem::path& task) {
  std::ifstream status(task / "status");
  for (std::string key; status >> key;) {
    uint64_t count = 0;
    if (key == "voluntary_ctxt_switches:" && status >> count) return count;
    status.ignore(4096, '\n');
  }
  return 0;
}

}  // namespace

ThreadUsage usage_of_threads(pid_t process, std::string_view prefix) {
  const std::string folder =
      "/proc/" + (process == 0 ? std::string("self") : std::to_string(process)) + "/task";
  ThreadUsage usage;
  std::error_code error;  // a thread may end while its folder is read
  for (std::filesystem::directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error)) {
    std::string name;
    std::getline(std::ifstream(entry->path() / "comm"), name);
    if (!name.starts_with(prefix)) continue;
    int64_t nanoseconds = 0;
    std::ifstream(entry->path() / "schedstat") >> nanoseconds;
    usage.cpu += std::chrono::nanoseconds(nanoseconds);
    usage.sleeps += sleeps_of(entry->path());
  }
  return usage;
}

}  // namespace gyre::benchmarks
