// Two loops, each in a thread of its own, say hello.

#include <cstddef>
#include <cstdio>
#include <latch>

#include "gyre/threading/loop_pool.h"

int main() {
  auto pool = gyre::LoopPool::create({.threads = 2});
  if (!pool.ok()) {
    std::fprintf(stderr, "%s\n", pool.status().ToString().c_str());
    return 1;
  }

  const size_t loops = (*pool)->size();
  std::latch said_hello(static_cast<std::ptrdiff_t>(loops));
  for (size_t i = 0; i < loops; ++i) {
    // next() deals the loops out in turn, so each gets one callback.
    if (!(*pool)->next().add_callback([&said_hello] { said_hello.count_down(); })) return 1;
  }
  said_hello.wait();

  (*pool)->stop();
  (*pool)->join();
  std::printf("%zu loops said hello\n", loops);
  return 0;
}
