// One loop in the main thread says hello and stops.

#include <cstdio>

#include "gyre/loop/io_loop.h"

int main() {
  auto loop = gyre::IOLoop::create();
  if (!loop.ok()) {
    std::fprintf(stderr, "%s\n", loop.status().ToString().c_str());
    return 1;
  }

  (*loop)->add_callback([&loop] {
    std::printf("1 loop said hello\n");
    (*loop)->stop();
  });
  return (*loop)->start().ok() ? 0 : 1;
}
