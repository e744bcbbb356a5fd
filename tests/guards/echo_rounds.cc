// An echo with no thread and no chance in it, to be counted from outside: in each round every
// connection has a request before the loop looks, so that each run of it does the same. Usage:
//   echo_rounds CONNECTIONS ROUNDS

#include <sys/socket.h>

#include <chrono>
#include <cstdlib>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "gyre/loop/idle_timeout.h"
#include "gyre/loop/io_loop.h"
#include "gyre/net/io_stream.h"

namespace {

constexpr size_t kBytes = 64;

// A connection as a server has it: with a read callback and an idle timeout. Gives the peer's end.
int add_connection(gyre::IOLoop& loop, const std::function<void()>& answered) {
  int fds[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) != 0) std::exit(2);
  auto stream = gyre::IOStream::create(loop, gyre::UniqueFd(fds[0])).value();
  auto idle = std::make_unique<gyre::IdleTimeout>(loop, [] {});
  idle->start(std::chrono::hours(1));
  gyre::IOStream* const connection = stream.get();
  stream
      ->set_read_callback([connection, idle = std::move(idle), answered](std::string_view bytes) {
        idle->touch();
        connection->write(bytes);
        answered();
      })
      .IgnoreError();
  return fds[1];
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  const int connections = std::atoi(argv[1]), rounds = std::atoi(argv[2]);
  auto loop = gyre::IOLoop::create().value();
  int waiting = 0;
  std::vector<int> peers;
  for (int i = 0; i < connections; ++i) {
    peers.push_back(add_connection(*loop, [&] {
      if (--waiting == 0) loop->stop();
    }));
  }
  const std::string request(kBytes, 'r');
  char answer[kBytes];
  for (int round = 0; round < rounds; ++round) {
    for (const int peer : peers) {
      if (::send(peer, request.data(), kBytes, 0) != ssize_t{kBytes}) return 2;
    }
    waiting = connections;
    if (!loop->start().ok()) return 2;
    for (const int peer : peers) {
      if (::recv(peer, answer, kBytes, 0) != ssize_t{kBytes}) return 3;
    }
  }
}
