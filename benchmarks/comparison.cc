#include "gyre/benchmarks/comparison.h"

#include <algorithm>
#include <cstdio>
#include <map>
#include <utility>
#include <vector>

#include "gyre/threading/cpu_affinity.h"

namespace gyre::bench {
namespace {

struct Samples {
  std::string contender;
  std::string unit;
  std::vector<double> values;

  double median() {
    std::sort(values.begin(), values.end());
    const size_t middle = values.size() / 2;
    return values.size() % 2 != 0 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
  }
};

struct Group {
  std::string name;
  std::vector<Samples> contenders;

  Samples& of(const std::string& contender) {
    for (Samples& samples : contenders) {
      if (samples.contender == contender) return samples;
    }
    contenders.push_back({contender, "", {}});
    return contenders.back();
  }

  void print(std::FILE* out) {
    std::fprintf(out, "\n%-44s %12s %21s %8s\n", name.c_str(), "median", "least .. most", "ratio");
    const auto gyre = std::find_if(contenders.begin(), contenders.end(),
                                   [](const Samples& s) { return s.contender == "gyre"; });
    const double base = (gyre != contenders.end() ? *gyre : contenders.front()).median();
    for (Samples& samples : contenders) {
      const double median = samples.median();
      std::fprintf(out, "  %-42s %9.2f %2s %10.2f..%9.2f %7.2fx\n", samples.contender.c_str(),
                   median, samples.unit.c_str(), samples.values.front(), samples.values.back(),
                   median / base);
    }
  }
};

// In the order in which the benchmarks were registered, whatever the order of their ends.
std::vector<Group>& groups() {
  static std::vector<Group> groups;
  return groups;
}

Group& group_of(const std::string& name) {
  for (Group& group : groups()) {
    if (group.name == name) return group;
  }
  groups().push_back({name, {}});
  return groups().back();
}

std::pair<std::string, std::string> split(const std::string& name) {
  const size_t slash = name.rfind('/');
  return {name.substr(0, slash), name.substr(slash + 1)};
}

// Hands everything on to the reporter that the flags ask for, and remembers the single runs.
class ComparingReporter final : public benchmark::BenchmarkReporter {
 public:
  bool ReportContext(const Context& context) override { return display_.ReportContext(context); }

  void ReportRuns(const std::vector<Run>& runs) override {
    for (const Run& run : runs) {
      if (run.run_type == Run::RT_Iteration && run.GetAdjustedRealTime() > 0) remember(run);
    }
    if (!on_console()) return display_.ReportRuns(runs);
    // There the medians are enough; the table that follows has the rest.
    std::vector<Run> medians;
    std::copy_if(runs.begin(), runs.end(), std::back_inserter(medians), [&](const Run& run) {
      return runs.size() == 1 || run.aggregate_name == "median";
    });
    display_.ReportRuns(medians.empty() ? runs : medians);
  }

  void Finalize() override { display_.Finalize(); }

  void print_tables() {
    std::FILE* out = on_console() ? stdout : stderr;
    for (Group& group : groups()) {
      std::erase_if(group.contenders, [](const Samples& s) { return s.values.empty(); });
      if (!group.contenders.empty()) group.print(out);
    }
  }

 private:
  bool on_console() const {
    return dynamic_cast<const benchmark::ConsoleReporter*>(&display_) != nullptr;
  }

  static void remember(const Run& run) {
    const auto [group, contender] = split(run.run_name.function_name);
    Samples& samples = group_of(group).of(contender);
    samples.unit = benchmark::GetTimeUnitString(run.time_unit);
    samples.values.push_back(run.GetAdjustedRealTime());
  }

  benchmark::BenchmarkReporter& display_ = *benchmark::CreateDefaultDisplayReporter();
};

std::string g_program;

void print_help() {
  std::printf(
      "Measures gyre side by side with others, and prints medians, spread and ratios.\n\n"
      "usage: %s [flags], by default:\n"
      "  --benchmark_repetitions=5                   of each contender\n"
      "  --benchmark_enable_random_interleaving=true  in turn, so that noise disturbs all alike\n"
      "  --benchmark_filter=all                      a regular expression: only GROUP/CONTENDER\n"
      "  --benchmark_list_tests=false                true: only their names\n"
      "  --benchmark_format=console                  console, json or csv\n"
      "and the others of Google Benchmark.\n\n"
      "example: %s --benchmark_repetitions=3 --benchmark_filter=gyre\n",
      g_program.c_str(), g_program.c_str());
}

}  // namespace

void add_contender(const std::string& group, const std::string& contender,
                   std::function<double(benchmark::State&)> measure) {
  group_of(group).of(contender);
  benchmark::RegisterBenchmark((group + "/" + contender).c_str(),
                               [measure = std::move(measure)](benchmark::State& state) {
                                 for ([[maybe_unused]] auto _ : state) {
                                   const double nanoseconds = measure(state);
                                   if (nanoseconds < 0) {
                                     state.SkipWithError("it did not come to its end");
                                     break;
                                   }
                                   state.SetIterationTime(nanoseconds / 1e9);
                                 }
                               })
      ->Iterations(1)
      ->UseManualTime();
}

int run_comparisons(int argc, char** argv) {
  std::vector<std::string> defaults = {"--benchmark_repetitions=5",
                                       "--benchmark_enable_random_interleaving=true"};
  std::vector<char*> arguments = {argv[0]};
  for (std::string& flag : defaults) arguments.push_back(flag.data());
  arguments.insert(arguments.end(), argv + 1, argv + argc);
  int count = static_cast<int>(arguments.size());
  arguments.push_back(nullptr);
  g_program = std::string(argv[0]).substr(std::string(argv[0]).rfind('/') + 1);
  benchmark::Initialize(&count, arguments.data(), print_help);
  if (benchmark::ReportUnrecognizedArguments(count, arguments.data())) return 2;
  ComparingReporter reporter;
  benchmark::RunSpecifiedBenchmarks(&reporter);
  reporter.print_tables();
  benchmark::Shutdown();
  return 0;
}

void pin_to_cpu(size_t index) {
  static const std::vector<int> cpus = affinity_mask();
  if (!cpus.empty()) pin_this_thread(cpus[index % cpus.size()]).IgnoreError();
}

size_t usable_cpu_count() { return static_cast<size_t>(usable_cpus()); }

}  // namespace gyre::bench
