// The way from one loop to another and back, where both sleep: what a hand-over between threads
// costs in time.
//
// Measures nanoseconds from a post to the other loop until its answer runs, 4,000 times in a row;
// the loops on two CPUs (round_trip/two_cpus), then both on one (round_trip/one_cpu). Baselines, in
// the same run: two threads that do nothing but write and read eventfds, which is what the kernel
// takes for two wake-ups, and the peers.
//
// Goals: at most 1.05 times the eventfds; with adaptive spinning at most 1 us on two CPUs, and as
// much as without it on one.

#include <sys/eventfd.h>
#include <unistd.h>

#include "gyre/benchmarks/comparison.h"
#include "gyre/benchmarks/local_loops.h"
#include "gyre/benchmarks/peers/peers.h"
#include "gyre/benchmarks/post_contest.h"
#include "gyre/loop/unique_fd.h"

namespace gyre::bench {
namespace {

void signal(int fd) {
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = ::write(fd, &one, sizeof(one));
}

void await(int fd) {
  uint64_t count;
  [[maybe_unused]] const ssize_t got = ::read(fd, &count, sizeof(count));
}

double eventfd_round_trip(size_t cpu_a, size_t cpu_b) {
  const UniqueFd to_b(::eventfd(0, EFD_CLOEXEC)), to_a(::eventfd(0, EFD_CLOEXEC));
  if (!to_a || !to_b) return -1;
  std::thread b([&] {
    pin_to_cpu(cpu_b);
    for (int i = 0; i < kRoundTrips; ++i) {
      await(to_b.get());
      signal(to_a.get());
    }
  });
  double nanoseconds = 0;
  std::thread a([&] {
    pin_to_cpu(cpu_a);
    const BenchClock::time_point start = BenchClock::now();
    for (int i = 0; i < kRoundTrips; ++i) {
      signal(to_b.get());
      await(to_a.get());
    }
    nanoseconds = nanoseconds_since(start) / kRoundTrips;
  });
  a.join();
  b.join();
  return nanoseconds;
}

}  // namespace
}  // namespace gyre::bench

int main(int argc, char** argv) {
  using namespace gyre::bench;
  add_round_trip_contender<GyreLoop>("gyre");
  add_round_trip_contender<GyreSpinningLoop>("gyre_spin");
  add_contender("round_trip/two_cpus", "eventfds",
                [](benchmark::State&) { return eventfd_round_trip(0, 1); });
  add_contender("round_trip/one_cpu", "eventfds",
                [](benchmark::State&) { return eventfd_round_trip(0, 0); });
  add_round_trip_contender<BareQueueLoop>("bare_queue");
  add_round_trip_contender<MutexVectorLoop>("mutex_vector");
  add_round_trip_peers();
  return run_comparisons(argc, argv);
}
