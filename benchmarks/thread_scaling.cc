// How an echo server scales with its loops; see thread_scaling.h for a server of your own.

#include "gyre/benchmarks/thread_scaling.h"

int main(int argc, char** argv) {
  return gyre::benchmarks::run_thread_scaling(argc, argv, gyre::benchmarks::echo_workload());
}
