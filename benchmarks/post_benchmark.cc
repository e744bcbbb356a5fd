// add_callback: what it costs to hand a callback to a loop in another thread.
//
// Measures nanoseconds per callback from the first post of 1, 2 and 4 producers at once to the end
// of the last callback, 500,000 posts each, after a round that is not measured; with 16 and with 48
// bytes captured. With one producer it and the loop have a CPU each; more are left to the
// scheduler. Baselines, in the same run: the peers' own ways to do it, a mutex with a vector, and
// as the limit the bare queue with preallocated nodes. The counter allocations_per_post is of a
// third round, in which the threads themselves account for some 1e-5.
//
// Goals: half of the best peer's time in each group, and at most 1.5 times the bare queue's.
//
// Names: post/16B/producers:1/gyre and so on; each repetition is one iteration.

#include "gyre/benchmarks/comparison.h"
#include "gyre/benchmarks/local_loops.h"
#include "gyre/benchmarks/peers/peers.h"
#include "gyre/benchmarks/post_contest.h"

int main(int argc, char** argv) {
  using namespace gyre::bench;
  add_post_contender<GyreLoop>("gyre");
  add_post_contender<GyreBoundedLoop>("gyre_try_add_callback");
  add_post_contender<BareQueueLoop>("bare_queue");
  add_post_contender<MutexVectorLoop>("mutex_vector");
  add_post_peers();
  return run_comparisons(argc, argv);
}
