#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string_view>

#include "absl/strings/str_format.h"
#include "gyre/benchmarks/scaling_study.h"
#include "gyre/benchmarks/thread_scaling.h"
#include "gyre/examples/command_line.h"
#include "gyre/threading/cpu_affinity.h"

namespace gyre::benchmarks {
namespace {

using std::chrono::milliseconds;

struct Options {
  int max_loops = 0;
  std::string backends = "all";
  std::string accepts = "all";
  int client_threads = 0;
  int warm_up = 100;
  int window = 300;
  int repetitions = 5;
  std::string output;
  ScalingPlan plan;
};

// What a run costs beside its warm-up and its window, by experience.
constexpr milliseconds kOverhead(60);

std::atomic<bool> g_interrupted{false};

// Ends the study after what is being measured; a second time ends the program.
void end_on_interrupt() {
  struct sigaction action {};
  action.sa_handler = [](int) { g_interrupted.store(true); };
  action.sa_flags = SA_RESETHAND;
  ::sigaction(SIGINT, &action, nullptr);
  ::sigaction(SIGTERM, &action, nullptr);
}

std::vector<std::string> split(const std::string& list) {
  std::vector<std::string> items;
  for (size_t begin = 0; begin <= list.size();) {
    const size_t end = std::min(list.find(',', begin), list.size());
    items.push_back(list.substr(begin, end - begin));
    begin = end + 1;
  }
  return items;
}

absl::StatusOr<std::vector<Backend>> parse_backends(const std::string& list) {
  if (list == "all") return available_backends();
  std::vector<Backend> backends;
  for (const std::string& name : split(list)) {
    const absl::StatusOr<Backend> backend = parse_backend(name);
    if (!backend.ok()) return backend.status();
    const absl::StatusOr<Backend> resolved = resolve_backend(*backend);
    if (!resolved.ok()) return resolved.status();
    backends.push_back(*resolved);
  }
  return backends;
}

// The library says which of its names it has.
absl::StatusOr<std::vector<std::string>> parse_accepts(const std::string& list) {
  std::vector<std::string> names;
  for (const std::string& name : split(list == "all" ? "thread,reuseport,shared" : list)) {
    const absl::StatusOr<AcceptMode> mode = parse_accept_mode(name);
    if (mode.ok()) {
      names.push_back(name);
    } else if (list != "all") {
      return mode.status();
    }
  }
  return names;
}

// 1, 2, ... as far as that is a chart; then powers of two, and the last.
std::vector<int> loop_counts(int most) {
  constexpr int kEach = 8;
  std::vector<int> counts;
  for (int i = 1; i <= std::min(most, kEach); ++i) counts.push_back(i);
  for (int i = 2 * kEach; i < most; i *= 2) counts.push_back(i);
  if (most > kEach) counts.push_back(most);
  return counts;
}

absl::StatusOr<ScalingStudy> plan_study(const Options& options, const ScalingWorkload& workload) {
  ScalingStudy study;
  study.workload = workload.name;
  study.plan = options.plan;
  study.repetitions = options.repetitions;
  const absl::StatusOr<std::vector<Backend>> backends = parse_backends(options.backends);
  if (!backends.ok()) return backends.status();
  const absl::StatusOr<std::vector<std::string>> accepts = parse_accepts(options.accepts);
  if (!accepts.ok()) return accepts.status();
  bool shared = false;
  for (const Backend backend : *backends) {
    // select(2) holds fds below 1024, and the clients' are in this process too.
    constexpr int kMostForSelect = 400;
    if (backend == Backend::kSelect && options.plan.connections > kMostForSelect) {
      study.notes.push_back(absl::StrFormat(
          "select is left out: it holds fds below 1024, %d connections need more than that.",
          options.plan.connections));
      continue;
    }
    for (const std::string& accept : *accepts) {
      for (const int loops : loop_counts(options.max_loops)) {
        const ScalingPoint point{loops, backend, accept};
        study.results.push_back({point, shares_cpus(point, options.plan), {}});
        shared = shared || study.results.back().shares_cpus;
      }
    }
  }
  if (shared) {
    study.notes.push_back(absl::StrFormat(
        "* The server's loops and the %d client thread(s) share %d CPUs there: throughput and "
        "latency are those of both together. The server's CPU per request is its own, but a "
        "request "
        "from a client on the same CPU costs less than one from another: compare points of one "
        "kind.",
        options.plan.client_threads, usable_cpus()));
  }
  return study;
}

// A line on a terminal, while it goes on.
class Progress {
 public:
  Progress(size_t runs, milliseconds each) : runs_(runs), each_(each) {}

  void begin(const ScalingPoint& point) {
    if (terminal_) {
      const auto left = std::chrono::duration_cast<std::chrono::seconds>(each_ * (runs_ - done_));
      std::fprintf(stderr, "\r\033[K%zu of %zu: %d loop%s, %s; %ld s left", done_ + 1, runs_,
                   point.loops, point.loops == 1 ? "" : "s", series_name(point).c_str(),
                   static_cast<long>(left.count()));
      std::fflush(stderr);
    }
    ++done_;
  }
  void clear() {
    if (terminal_) std::fprintf(stderr, "\r\033[K");
  }

 private:
  const size_t runs_;
  const milliseconds each_;
  const bool terminal_ = ::isatty(STDERR_FILENO) != 0;
  size_t done_ = 0;
};

// Each repetition goes over all points, so that what disturbs the machine for a while disturbs all.
absl::Status measure(const ScalingWorkload& workload, const Options& options, ScalingStudy& study) {
  absl::StatusOr<std::unique_ptr<IOLoop>> loop = IOLoop::create({.name = "main"});
  if (!loop.ok()) return loop.status();
  const milliseconds each = study.plan.times.warm_up + study.plan.times.window + kOverhead;
  const size_t runs = study.results.size() * options.repetitions;
  std::fprintf(stderr, "%zu runs, about %ld s\n", runs,
               static_cast<long>((runs * each).count() / 1000 + 1));
  Progress progress(runs, each);
  absl::Status status = absl::OkStatus();
  for (int i = 0; i < options.repetitions && status.ok(); ++i) {
    for (ScalingResult& result : study.results) {
      progress.begin(result.point);
      absl::StatusOr<ScalingSample> sample =
          measure_point(**loop, workload, result.point, study.plan, g_interrupted);
      if (sample.ok()) {
        result.samples.push_back(*sample);
        continue;
      }
      status = absl::Status(
          sample.status().code(),
          absl::StrFormat("%d loops, %s: %s", result.point.loops, series_name(result.point),
                          std::string(sample.status().message())));
      break;
    }
  }
  progress.clear();
  return status;
}

// Under another name first: whoever reads the file never sees half of it.
absl::Status write_file(const std::filesystem::path& path, const std::string& text) {
  const std::filesystem::path unfinished = path.string() + ".tmp";
  std::ofstream file(unfinished, std::ios::binary);
  file << text;
  file.close();
  std::error_code error;
  if (!file.fail()) std::filesystem::rename(unfinished, path, error);
  if (!file.fail() && !error) return absl::OkStatus();
  std::filesystem::remove(unfinished, error);
  return absl::UnavailableError(absl::StrFormat("%s cannot be written", path.string()));
}

absl::Status write_files(const std::string& output, const ScalingStudy& study) {
  std::filesystem::path folder(output);
  // `bazel run` starts a program elsewhere, and says where the user is.
  const char* users = std::getenv("BUILD_WORKING_DIRECTORY");
  if (folder.is_relative() && users != nullptr) folder = users / folder;
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  for (const auto& [name, text] : {std::pair("thread_scaling.csv", to_csv(study)),
                                   {"thread_scaling.json", to_json(study)},
                                   {"thread_scaling.html", to_page(study)}}) {
    if (absl::Status status = write_file(folder / name, text); !status.ok()) return status;
    std::printf("wrote %s\n", (folder / name).c_str());
  }
  return absl::OkStatus();
}

absl::StatusOr<Options> parse(int argc, char** argv, const ScalingWorkload& workload) {
  Options options;
  ScalingPlan& plan = options.plan;
  examples::CommandLine line(
      absl::StrFormat("Measures how a server scales with its loops: %s.", workload.name),
      "--max_loops=4 --output=report");
  line.flag("max_loops", "1, 2, ... so many loops; 0: one for each CPU", &options.max_loops, 0,
            1024);
  line.flag("backends", "of epoll,kqueue,select; all: those that are compiled in",
            &options.backends);
  line.flag("accept", "of thread,reuseport,shared; all: those that the library has",
            &options.accepts);
  line.flag("connections", "of all clients together", &plan.connections, 1, 100000);
  line.flag("client_threads", "0: half of the CPUs", &options.client_threads, 0, 1024);
  if (workload.request.empty())
    line.flag("size", "bytes of a request", &plan.request_bytes, 1, 16 * 1024 * 1024);
  line.flag("pipeline", "requests in flight on each connection", &plan.pipeline, 1, 65536);
  line.flag("repetitions", "interleaved; the median is shown", &options.repetitions, 1, 1000);
  line.flag("warm_up", "milliseconds, for each run", &options.warm_up, 0, 60000);
  line.flag("window", "milliseconds that are measured", &options.window, 10, 600000);
  line.flag("output", "a folder for CSV, JSON and the page; empty: none", &options.output);
  if (absl::Status status = line.parse(argc, argv); !status.ok()) return status;
  if (options.max_loops == 0) options.max_loops = usable_cpus();
  plan.client_threads =
      options.client_threads > 0 ? options.client_threads : std::max(1, usable_cpus() / 2);
  plan.times = {milliseconds(options.warm_up), milliseconds(options.window)};
  constexpr size_t kSpareFds = 128;
  if (2 * static_cast<size_t>(plan.connections) + kSpareFds > examples::raise_open_file_limit()) {
    return absl::InvalidArgumentError(
        "--connections: client and server together may not open so many files (ulimit -n)");
  }
  if (!workload.request.empty() && workload.answer.empty() && workload.answer_bytes == 0) {
    return absl::InvalidArgumentError(
        "the workload has a request, and neither an answer nor answer_bytes");
  }
  return options;
}

int exit_code(const absl::Status& status) {
  if (absl::IsCancelled(status)) return 130;  // as a shell has it for SIGINT
  return absl::IsDataLoss(status) ? 1 : 2;
}

}  // namespace

ScalingWorkload echo_workload() {
  ScalingWorkload workload;
  workload.name = "echo";
  workload.serve([](std::shared_ptr<IOStream> connection) {
    IOStream* stream = connection.get();  // the callback belongs to the stream
    stream->set_read_callback([stream](std::string_view bytes) { stream->write(bytes); })
        .IgnoreError();
  });
  return workload;
}

int run_thread_scaling(int argc, char** argv, ScalingWorkload workload) {
  const absl::StatusOr<Options> options = parse(argc, argv, workload);
  if (!options.ok()) return examples::usage_error(argv[0], options.status());
  absl::StatusOr<ScalingStudy> study = plan_study(*options, workload);
  if (!study.ok()) return examples::usage_error(argv[0], study.status());
  end_on_interrupt();
  study->machine = describe_machine();
  if (absl::Status status = measure(workload, *options, *study); !status.ok()) {
    examples::usage_error(argv[0], status);
    return exit_code(status);
  }
  std::fputs(to_table(*study).c_str(), stdout);
  if (options->output.empty()) return 0;
  const absl::Status status = write_files(options->output, *study);
  return status.ok() ? 0 : examples::usage_error(argv[0], status);
}

}  // namespace gyre::benchmarks
