#ifndef GYRE_BENCHMARKS_PEERS_PEERS_H_
#define GYRE_BENCHMARKS_PEERS_PEERS_H_

namespace gyre::bench {

// The contenders that the program was built with: those whose packages are installed.
void add_post_peers();
void add_round_trip_peers();
void add_timer_peers();

}  // namespace gyre::bench

#endif  // GYRE_BENCHMARKS_PEERS_PEERS_H_
