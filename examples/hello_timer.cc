// One loop, timers and nothing else: a periodic one, one that comes once, one that is taken back.
//
//   bazel run //examples:hello_timer

#include <chrono>
#include <cstdio>

#include "gyre/examples/command_line.h"
#include "gyre/loop/io_loop.h"
#include "gyre/loop/periodic_callback.h"

using std::chrono::milliseconds;

int main(int argc, char** argv) {
  gyre::examples::CommandLine line("Ticks for a third of a second.", "");
  if (absl::Status status = line.parse(argc, argv); !status.ok()) {
    return gyre::examples::usage_error(argv[0], status);
  }
  auto loop = gyre::IOLoop::create();
  if (!loop.ok()) return gyre::examples::usage_error(argv[0], loop.status());

  int ticks = 0;
  gyre::PeriodicCallback clock(
      **loop, [&ticks] { std::printf("tick %d\n", ++ticks); }, milliseconds(100));
  clock.start();

  // Its handle takes a timeout back. One that has fired, or was removed, is no error.
  const auto never = (*loop)->call_later(milliseconds(200), [] { std::printf("never\n"); });
  (*loop)->call_later(milliseconds(150), [&] { (*loop)->remove_timeout(never); });

  (*loop)->call_later(milliseconds(350), [&] {
    clock.stop();
    std::printf("done after %d ticks\n", ticks);
    (*loop)->stop();
  });
  return (*loop)->start().ok() ? 0 : 1;
}
