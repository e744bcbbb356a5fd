#ifndef GYRE_EXAMPLES_SERVER_PROGRAM_H_
#define GYRE_EXAMPLES_SERVER_PROGRAM_H_

#include <functional>
#include <memory>
#include <string>

#include "gyre/examples/command_line.h"
#include "gyre/net/tcp_server.h"
#include "gyre/threading/loop_pool.h"

namespace gyre::examples {

// A server as a program: takes the flags that all of them have, prints "listening on HOST:PORT"
// when it accepts, serves until SIGTERM or SIGINT, finishes what is being written, and prints what
// each loop did. SIGUSR1 prints every loop, handler, timeout and connection to stderr, and what a
// loop that is stuck is in. Gives the exit code: 0, or 2 for a wrong flag or an address that cannot
// be listened on.
int run_server(int argc, char** argv, const std::string& summary, TCPServer::Handler handler,
               const IOStreamOptions& stream = {});

// A server that keeps something on the loops of its pool. Made before the first connection comes;
// destroyed once the loops have ended, and before they are closed.
class Service {
 public:
  virtual ~Service() = default;
  // On the connection's loop; at the same time on several.
  virtual void serve(std::shared_ptr<IOStream> connection) = 0;
};

struct ServerProgram {
  std::string summary;                              // for --help
  std::string example = "--port=8888 --threads=2";  // for --help, see CommandLine
  // Adds what the program has beside the flags of all servers. Borrows it until run_server ends.
  std::function<void(CommandLine&)> add_flags = nullptr;
  IOStreamOptions stream = {};
  int spin_us = 0;  // unless --spin-us says otherwise, see LoopPoolOptions::spin
  std::function<std::unique_ptr<Service>(LoopPool&)> make_service;
};

int run_server(int argc, char** argv, const ServerProgram& program);

}  // namespace gyre::examples

#endif  // GYRE_EXAMPLES_SERVER_PROGRAM_H_
