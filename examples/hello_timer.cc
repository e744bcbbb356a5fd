// One loop, timers and nothing else: a periodic one, one that comes once, one that is taken back.

#include <chrono>
#include <cstdio>

#include "gyre/loop/io_loop.h"
#include "gyre/loop/periodic_callback.h"

using std::chrono::milliseconds;

int main() {
  auto loop = gyre::IOLoop::create();
  if (!loop.ok()) {
    std::fprintf(stderr, "hello_timer: %s\n", loop.status().ToString().c_str());
    return 1;
  }

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
