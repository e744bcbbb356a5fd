// Explores the shipped queue in a size of one's choice. See --help.

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

#include "gyre/loop/mpsc_inbox.h"
#include "gyre/tests/loop/model/queue_program.h"

namespace gyre::model {
namespace {

constexpr const char* kUsage =
    R"(usage: explore_queue [--model=sequential|store-buffers|acquire-release] [--producers=3] [--pushes=2]
                     [--stop=1] [--close=1] [--io=1] [--reduce=1] [--max-states=N]

Every interleaving of the producers, a stop, and the consumer that takes, sleeps and closes, around
the queue of loop/mpsc_queue.h. Prints the states, or the steps that lead to a failure; a line for
each million states meanwhile. producers x pushes is at most 7.

  --io=N        so many sleeps may end without a wake-up
  --reduce=0    tells apart states that are alike: much longer, for shapes up to 2 x 2

Exit code 0: nothing wrong; 1: a failure; 2: a wrong argument; 3: cut off by --max-states.
)";

struct Arguments {
  QueueShape shape;
  Options options;
};

[[noreturn]] void usage(std::FILE* file, int code) {
  std::fputs(kUsage, file);
  std::exit(code);
}

MemoryModel model_of(std::string_view name) {
  if (name == "sequential") return MemoryModel::kSequential;
  if (name == "store-buffers") return MemoryModel::kStoreBuffers;
  if (name == "acquire-release") return MemoryModel::kAcquireRelease;
  usage(stderr, 2);
}

uint64_t number_of(const std::string& text) {
  char* end = nullptr;
  const unsigned long long number = std::strtoull(text.c_str(), &end, 10);
  if (text.empty() || *end != '\0' || text[0] == '-') usage(stderr, 2);
  return number;
}

void set(Arguments& arguments, const std::string& name, const std::string& value) {
  if (name == "--model") {
    arguments.options.model = model_of(value);
    return;
  }
  const uint64_t number = number_of(value);
  const int small = static_cast<int>(number < 100 ? number : 100);
  if (name == "--producers") {
    arguments.shape.producers = small;
  } else if (name == "--pushes") {
    arguments.shape.pushes = small;
  } else if (name == "--stop") {
    arguments.shape.stop = small != 0;
  } else if (name == "--close") {
    arguments.shape.close = small != 0;
  } else if (name == "--io") {
    arguments.shape.io = small;
  } else if (name == "--reduce") {
    arguments.options.reduce = small != 0;
  } else if (name == "--max-states") {
    arguments.options.max_states = number;
  } else {
    usage(stderr, 2);
  }
}

Arguments parse(int argc, char** argv) {
  Arguments arguments;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument == "--help" || argument == "-h") usage(stdout, 0);
    const size_t equals = argument.find('=');
    if (equals == std::string::npos) usage(stderr, 2);
    set(arguments, argument.substr(0, equals), argument.substr(equals + 1));
  }
  const QueueShape& shape = arguments.shape;
  const bool fits = shape.producers >= 1 && shape.producers <= 3 && shape.pushes >= 1 &&
                    shape.producers * shape.pushes <= 7;
  if (!fits) usage(stderr, 2);
  return arguments;
}

int explore_and_print(Arguments arguments) {
  using Clock = std::chrono::steady_clock;
  const Clock::time_point begin = Clock::now();
  arguments.options.progress = [begin](uint64_t states, size_t depth) {
    const std::chrono::duration<double> passed = Clock::now() - begin;
    std::fprintf(stderr, "%llu million states, %.0f s, depth %zu\n",
                 static_cast<unsigned long long>(states / 1'000'000), passed.count(), depth);
  };
  const Result result = explore_queue<internal::MpscInbox>(arguments.shape, arguments.options);
  std::printf("%s, %d producers x %d pushes: %s\n", to_string(arguments.options.model),
              arguments.shape.producers, arguments.shape.pushes, result.to_string().c_str());
  if (!result.failure.empty()) return 1;
  if (!result.complete) std::printf("cut off: what was not reached may be wrong\n");
  return result.complete ? 0 : 3;
}

}  // namespace
}  // namespace gyre::model

int main(int argc, char** argv) {
  return gyre::model::explore_and_print(gyre::model::parse(argc, argv));
}
