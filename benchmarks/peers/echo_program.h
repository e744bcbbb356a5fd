#ifndef GYRE_BENCHMARKS_PEERS_ECHO_PROGRAM_H_
#define GYRE_BENCHMARKS_PEERS_ECHO_PROGRAM_H_

namespace gyre::bench {

// An echo server as a program, with one loop per thread and a listening socket for each
// (SO_REUSEPORT), until it is killed. `serve` runs a loop on a socket that listens and does not
// block, and does not return. Flags: --host, --port, --threads. Prints "listening on HOST:PORT".
int run_echo_program(int argc, char** argv, void (*serve)(int listen_fd));

// Turns Nagle's algorithm off, as all of the servers do.
void set_nodelay(int fd);

// A loop's own: what it received is sent before it is used again.
constexpr int kReceiveBytes = 64 * 1024;

}  // namespace gyre::bench

#endif  // GYRE_BENCHMARKS_PEERS_ECHO_PROGRAM_H_
