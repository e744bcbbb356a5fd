// The parts of an event's way through user space, each by itself.
//
// Measures nanoseconds an operation: handlers/lookup (HandlerTable::find_token of a random one of
// 10,000 fds, as for each event; baseline: std::unordered_map, absl's flat_hash_map),
// callback/own_thread (add_callback from the loop's own thread to the end of the callback;
// baseline: a std::deque of std::function), buffer/append_consume (1,000 bytes into a ByteBuffer
// and out of it; baseline: std::string, with erase), and echo/socketpair (64 bytes there and back
// by two IOStreams of one loop; baseline: the same four system calls and no loop).
//
// Names: handlers/lookup/gyre and so on.

#include <sys/socket.h>

#include <array>
#include <chrono>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "gyre/benchmarks/comparison.h"
#include "gyre/loop/handler_table.h"
#include "gyre/loop/io_loop.h"
#include "gyre/loop/unique_fd.h"
#include "gyre/net/byte_buffer.h"
#include "gyre/net/io_stream.h"

namespace gyre::bench {
namespace {

template <class F>
double time_each(int operations, F f) {
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < operations; ++i) f();
  return std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now() - start)
             .count() /
         operations;
}

// ---- Handlers

constexpr int kFds = 10'000;
constexpr int kLookups = 2'000'000;

class NoHandler final : public internal::EventHandler {
 public:
  void handle_events(int, uint32_t) override {}
  void released() override {}
  void close_fd(int) override {}
};

double look_up_in_table() {
  NoHandler handler;
  internal::HandlerTable table;
  std::vector<uint64_t> tokens;
  for (int fd = 0; fd < kFds; ++fd) {
    const uint32_t generation = table.next_generation();
    table.insert(fd,
                 {.handler = &handler, .generation = generation, .interest = PollEvents::kRead});
    tokens.push_back(internal::HandlerTable::token(fd, generation));
  }
  Random random;
  return time_each(kLookups, [&] {
    int fd;
    benchmark::DoNotOptimize(table.find_token(tokens[random.below(kFds)], &fd));
  });
}

template <class Map>
double look_up_in_map() {
  NoHandler handler;
  Map map;
  for (int fd = 0; fd < kFds; ++fd) map.emplace(fd, &handler);
  Random random;
  return time_each(
      kLookups, [&] { benchmark::DoNotOptimize(map.find(static_cast<int>(random.below(kFds)))); });
}

// ---- Callbacks of the loop's own thread

constexpr int kCallbacks = 1'000'000;
constexpr int kBatch = 100;

double call_back_in_loop() {
  IOLoopOptions options;
  options.make_current = false;
  auto loop = IOLoop::create(std::move(options)).value();
  int left = kCallbacks;
  // Several in each iteration, so that it is not the poll that is measured.
  std::function<void()> post = [&] {
    for (int i = 0; i < kBatch; ++i) loop->add_callback([&left] { --left; });
    if (left > 0) {
      loop->add_callback([&] { post(); });
    } else {
      loop->stop();
    }
  };
  loop->add_callback([&] { post(); });
  const auto start = std::chrono::steady_clock::now();
  loop->start().IgnoreError();
  return std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now() - start)
             .count() /
         kCallbacks;
}

double call_back_in_deque() {
  std::deque<std::function<void()>> queue;
  int left = kCallbacks;
  return time_each(kCallbacks / kBatch,
                   [&] {
                     for (int i = 0; i < kBatch; ++i) queue.emplace_back([&left] { --left; });
                     for (; !queue.empty(); queue.pop_front()) queue.front()();
                   }) /
         kBatch;
}

// ---- Buffers

constexpr int kAppends = 500'000;
constexpr size_t kBytes = 1000;

double append_to_buffer() {
  const std::string data(kBytes, 'x');
  internal::ByteBuffer buffer;
  return time_each(kAppends, [&] {
    buffer.append(data);
    buffer.consume(kBytes);
  });
}

double append_to_string() {
  const std::string data(kBytes, 'x');
  std::string buffer;
  return time_each(kAppends, [&] {
    buffer.append(data);
    benchmark::DoNotOptimize(buffer.data());
    buffer.erase(0, kBytes);
  });
}

// ---- An echo over a socket pair

constexpr int kEchoes = 50'000;
constexpr size_t kEchoBytes = 64;

std::array<UniqueFd, 2> socket_pair(int flags) {
  int fds[2] = {-1, -1};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | flags, 0, fds) != 0) return {};
  return {UniqueFd(fds[0]), UniqueFd(fds[1])};
}

double echo_by_streams() {
  IOLoopOptions options;
  options.make_current = false;
  auto loop = IOLoop::create(std::move(options)).value();
  std::array<UniqueFd, 2> pair = socket_pair(SOCK_NONBLOCK);
  if (!pair[0]) return -1;
  auto server = IOStream::create(*loop, std::move(pair[0])).value();
  auto client = IOStream::create(*loop, std::move(pair[1])).value();
  const std::string request(kEchoBytes, 'r');
  int left = kEchoes;
  server->set_read_callback([&](std::string_view bytes) { server->write(bytes); }).IgnoreError();
  client
      ->set_read_callback([&](std::string_view) {
        if (--left == 0) return loop->stop();
        client->write(request);
      })
      .IgnoreError();
  client->write(request);
  const auto start = std::chrono::steady_clock::now();
  loop->start().IgnoreError();
  const double nanoseconds =
      std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now() - start).count();
  server->close();
  client->close();
  return left == 0 ? nanoseconds / kEchoes : -1;
}

double echo_by_system_calls() {
  const std::array<UniqueFd, 2> pair = socket_pair(0);
  char bytes[kEchoBytes] = {};
  bool all = static_cast<bool>(pair[0]);
  const auto pass = [&](const UniqueFd& from, const UniqueFd& to) {
    all = all && ::send(from.get(), bytes, sizeof(bytes), MSG_NOSIGNAL) == kEchoBytes &&
          ::recv(to.get(), bytes, sizeof(bytes), 0) == kEchoBytes;
  };
  const double nanoseconds = time_each(kEchoes, [&] {
    pass(pair[1], pair[0]);
    pass(pair[0], pair[1]);
  });
  return all ? nanoseconds : -1;
}

}  // namespace
}  // namespace gyre::bench

int main(int argc, char** argv) {
  using namespace gyre::bench;
  const auto add = [](const char* group, const char* name, double (*measure)()) {
    add_contender(group, name, [measure](benchmark::State&) { return measure(); });
  };
  add("handlers/lookup", "gyre", look_up_in_table);
  add("handlers/lookup", "unordered_map",
      look_up_in_map<std::unordered_map<int, gyre::internal::EventHandler*>>);
  add("handlers/lookup", "flat_hash_map",
      look_up_in_map<absl::flat_hash_map<int, gyre::internal::EventHandler*>>);
  add("callback/own_thread", "gyre", call_back_in_loop);
  add("callback/own_thread", "deque", call_back_in_deque);
  add("buffer/append_consume", "gyre", append_to_buffer);
  add("buffer/append_consume", "string", append_to_string);
  add("echo/socketpair", "gyre", echo_by_streams);
  add("echo/socketpair", "system_calls", echo_by_system_calls);
  return run_comparisons(argc, argv);
}
