// Many posts through the callback queue. See --help.

#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "gyre/tests/loop/queue_stress.h"

namespace {

using gyre::testing::StressOptions;
using gyre::testing::StressReport;

constexpr const char* kUsage =
    R"(usage: queue_stress [--posts=1000000000] [--producers=3] [--seconds=0] [--seed=1]

Posts to a callback queue whose consumer runs, sleeps and closes it, and checks the order of each
producer's posts, what post() said against the close, and the number of wake-ups; and that a file
which gets the wake fd's number after the close is left alone.

  --seconds=N   stops after that time; 0: after the posts
  --seed=N      of when the queue is closed

Prints a line each second on a terminal, and the counts at the end. Exit code 0: nothing wrong;
1: a violation; 2: a wrong argument.
)";

[[noreturn]] void usage(std::FILE* file, int code) {
  std::fputs(kUsage, file);
  std::exit(code);
}

uint64_t number_of(const std::string& text) {
  char* end = nullptr;
  const unsigned long long number = std::strtoull(text.c_str(), &end, 10);
  if (text.empty() || *end != '\0' || text[0] == '-') usage(stderr, 2);
  return number;
}

StressOptions parse(int argc, char** argv) {
  StressOptions options;
  options.posts = 1'000'000'000;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument == "--help" || argument == "-h") usage(stdout, 0);
    const size_t equals = argument.find('=');
    if (equals == std::string::npos) usage(stderr, 2);
    const std::string name = argument.substr(0, equals);
    const uint64_t number = number_of(argument.substr(equals + 1));
    if (name == "--posts" && number > 0) {
      options.posts = number;
    } else if (name == "--producers" && number > 0 && number <= 64) {
      options.producers = static_cast<int>(number);
    } else if (name == "--seconds" && number <= 1'000'000) {
      options.limit = std::chrono::seconds(number);
    } else if (name == "--seed") {
      options.seed = static_cast<uint32_t>(number);
    } else {
      usage(stderr, 2);
    }
  }
  return options;
}

void print(std::FILE* file, const StressReport& report, double seconds) {
  const auto count = [](uint64_t n) { return static_cast<unsigned long long>(n); };
  std::fprintf(file,
               "%llu posts in %.1f s: %llu ran, %llu discarded by %llu closes, %llu refused; "
               "%llu sleeps, %llu of them ended by a post\n",
               count(report.posts), seconds, count(report.run), count(report.discarded),
               count(report.rounds), count(report.refused), count(report.sleeps),
               count(report.woken));
}

}  // namespace

int main(int argc, char** argv) {
  using Clock = std::chrono::steady_clock;
  StressOptions options = parse(argc, argv);
  const Clock::time_point begin = Clock::now();
  const auto passed = [begin] {
    return std::chrono::duration<double>(Clock::now() - begin).count();
  };
  double printed = 0;
  if (::isatty(STDERR_FILENO)) {
    options.progress = [&](const StressReport& report) {
      if (passed() - printed < 1) return;
      printed = passed();
      print(stderr, report, printed);
    };
  }
  const StressReport report = gyre::testing::stress_queue(options);
  print(stdout, report, passed());
  for (const std::string& violation : report.violations)
    std::printf("VIOLATION: %s\n", violation.c_str());
  return report.violations.empty() ? 0 : 1;
}
