// A client: sends a message to an echo server, waits until it is back, and so on; prints how many
// round trips there were, and how long they took.
//
//   bazel run //examples:echo_server -- --port=8888
//   bazel run -c opt //examples:pingpong -- --target=127.0.0.1:8888 --rounds=10000

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gyre/examples/command_line.h"
#include "gyre/loop/io_loop.h"
#include "gyre/loop/task.h"
#include "gyre/net/io_stream.h"
#include "gyre/net/socket_address.h"
#include "gyre/net/tcp_client.h"

namespace {

using Microseconds = std::chrono::duration<double, std::micro>;

struct Game {
  std::string host = "127.0.0.1";
  uint16_t port = 8888;
  int rounds = 1000;
  int size = 64;
  std::vector<Microseconds> times;
};

gyre::Task<absl::Status> play(gyre::IOLoop& loop, Game& game) {
  gyre::TCPClient client(loop);
  const auto stream = co_await client.connect(game.host, game.port);
  if (!stream.ok()) co_return stream.status();
  const std::string ping(game.size, '*');
  std::string pong(ping.size(), '\0');
  game.times.reserve(game.rounds);
  for (int i = 0; i < game.rounds; ++i) {
    const gyre::IOLoop::TimePoint start = loop.time();
    (*stream)->write(ping);
    const absl::StatusOr<size_t> received = co_await (*stream)->read_into(pong);
    if (!received.ok()) co_return received.status();
    if (pong != ping) co_return absl::DataLossError("other bytes came back");
    game.times.push_back(loop.time() - start);
  }
  (*stream)->close();
  co_return absl::OkStatus();
}

void print(Game& game) {
  std::sort(game.times.begin(), game.times.end());
  const auto part = [&](double share) {
    return game.times[static_cast<size_t>(share * (game.times.size() - 1))].count();
  };
  std::printf(
      "%zu round trips of %d bytes; microseconds: least %.1f, median %.1f, p99 %.1f, most %.1f\n",
      game.times.size(), game.size, part(0), part(0.5), part(0.99), part(1));
}

}  // namespace

int main(int argc, char** argv) {
  Game game;
  std::string target = "127.0.0.1:8888";
  gyre::examples::CommandLine line("Sends a message to an echo server and back, round after round.",
                                   "--target=127.0.0.1:8888 --rounds=10000");
  line.flag("target", "HOST:PORT of the server", &target, [&](const std::string& value) {
    return gyre::SocketAddress::split(value, &game.host, &game.port);
  });
  line.flag("rounds", "how often", &game.rounds, 1, 10'000'000);
  line.flag("size", "bytes of the message", &game.size, 1, 1 << 20);
  if (absl::Status status = line.parse(argc, argv); !status.ok()) {
    return gyre::examples::usage_error(argv[0], status);
  }

  const auto loop = gyre::IOLoop::create();
  if (!loop.ok()) return gyre::examples::usage_error(argv[0], loop.status());
  // Runs the loop until the task has ended.
  const absl::Status played = (*loop)->run_sync([&] { return play(**loop, game); });
  if (!played.ok()) {
    std::fprintf(stderr, "pingpong: %s\n", std::string(played.message()).c_str());
    return 1;
  }
  print(game);
  return 0;
}
