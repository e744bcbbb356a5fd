#include <cstdio>
#include <cstdlib>

#include "gyre/net/tcp_server.h"

int main(int argc, char** argv) {
  auto pool = gyre::LoopPool::create().value();  // a loop for each CPU, each in its thread
  gyre::TCPServer server(*pool, [](std::shared_ptr<gyre::IOStream> stream) -> gyre::Task<void> {
    for (;;) {
      auto line = co_await stream->read_until("\n");
      if (!line.ok()) co_return;  // the peer has gone
      stream->write("you said: " + *line);
    }
  });
  auto status = server.listen(argc > 1 ? std::atoi(argv[1]) : 8888, "127.0.0.1");
  std::printf("port %d: %s\n", status.ok() ? server.port() : 0, status.ToString().c_str());
  std::fflush(stdout);
  if (status.ok()) pool->join();  // until somebody calls pool->stop()
}
