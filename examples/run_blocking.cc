// Work that blocks goes to the executor's threads; the loop goes on meanwhile, and gets the result.
//
//   bazel run //examples:run_blocking

#include <chrono>
#include <cstdio>
#include <thread>

#include "absl/status/statusor.h"
#include "gyre/examples/command_line.h"
#include "gyre/loop/io_loop.h"
#include "gyre/loop/periodic_callback.h"
#include "gyre/loop/task.h"

using std::chrono::milliseconds;

namespace {

// Stands for a database client without an asynchronous interface, a compression, a DNS query, ...
int slow_square(int n) {
  std::this_thread::sleep_for(milliseconds(200));
  return n * n;
}

gyre::Task<int> sum_of_squares(gyre::IOLoop& loop) {
  // Both run at once, each in a thread of the executor.
  gyre::Future<int> three = loop.run_in_executor([] { return slow_square(3); });
  gyre::Future<int> four = loop.run_in_executor([] { return slow_square(4); });
  const int sum = co_await std::move(three) + co_await std::move(four);
  co_return sum;
}

}  // namespace

int main(int argc, char** argv) {
  gyre::examples::CommandLine line("Does blocking work beside a loop.", "");
  if (absl::Status status = line.parse(argc, argv); !status.ok()) {
    return gyre::examples::usage_error(argv[0], status);
  }
  auto loop = gyre::IOLoop::create();
  if (!loop.ok()) return gyre::examples::usage_error(argv[0], loop.status());

  int beats = 0;
  gyre::PeriodicCallback heart(
      **loop, [&beats] { ++beats; }, milliseconds(10));
  heart.start();
  const absl::StatusOr<int> sum = (*loop)->run_sync([&] { return sum_of_squares(**loop); });
  if (!sum.ok()) {
    std::fprintf(stderr, "run_blocking: %s\n", sum.status().ToString().c_str());
    return 1;
  }
  std::printf("3 * 3 + 4 * 4 = %d, and the loop's heart went on: %s\n", *sum,
              beats > 1 ? "yes" : "no");
  return 0;
}
