#ifndef GYRE_EXAMPLES_SERVER_PROGRAM_H_
#define GYRE_EXAMPLES_SERVER_PROGRAM_H_

#include <string>

#include "gyre/net/tcp_server.h"

namespace gyre::examples {

// A server as a program: takes the flags that all of them have, prints "listening on HOST:PORT"
// when it accepts, serves until SIGTERM or SIGINT, finishes what is being written, and prints what
// each loop did. Gives the exit code: 0, or 2 for a wrong flag or an address that cannot be
// listened on.
int run_server(int argc, char** argv, const std::string& summary, TCPServer::Handler handler);

}  // namespace gyre::examples

#endif  // GYRE_EXAMPLES_SERVER_PROGRAM_H_
