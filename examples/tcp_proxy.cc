// Hands every connection on to another server, both ways.
//
//   bazel run //examples:http_hello -- --port=8080
//   bazel run //examples:tcp_proxy -- --port=8888 --to=127.0.0.1:8080
//   curl http://127.0.0.1:8888/
//
// A side that sends faster than the other one receives is read from no more while too much waits:
// TCP slows it down. Its end is handed on as an end, so that the other may still answer.

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gyre/examples/command_line.h"
#include "gyre/examples/server_program.h"
#include "gyre/loop/task.h"
#include "gyre/net/io_stream.h"
#include "gyre/net/socket_address.h"
#include "gyre/net/tcp_client.h"

namespace {

using gyre::IOStream;

constexpr size_t kLowWater = 64 * 1024;
constexpr size_t kHighWater = 256 * 1024;

// Where the other server is.
struct Target {
  std::string host = "127.0.0.1";
  uint16_t port = 8080;
};

// What a stream's callbacks hold is released when it has closed, so each side may hold the other.
void relay(const std::shared_ptr<IOStream>& from, const std::shared_ptr<IOStream>& to) {
  to->set_watermarks(kLowWater, kHighWater, [from](bool above) {
      above ? from->pause_reading() : from->resume_reading();
    }).IgnoreError();  // the marks are in order
  from->set_close_callback([to](const absl::Status& reason) {
    reason.ok() ? to->close_when_flushed() : to->reset(reason);
  });
  from->set_read_callback([to](std::string_view bytes) {
        if (bytes.empty()) return to->shutdown_write();  // the end, as allow_half_close has it
        to->write(bytes);
      })
      .IgnoreError();  // it has closed meanwhile, and its close callback comes
}

gyre::IOStreamOptions stream_options() {
  gyre::IOStreamOptions options;
  options.allow_half_close = true;
  options.write_timeout = std::chrono::seconds(60);  // who receives nothing for so long has gone
  return options;
}

gyre::Task<void> connect_and_relay(std::shared_ptr<IOStream> near, const Target& target) {
  gyre::TCPClient client(near->loop());
  gyre::ConnectOptions options;
  options.stream = stream_options();
  const absl::StatusOr<std::shared_ptr<IOStream>> far =
      co_await client.connect(target.host, target.port, options);
  if (!far.ok()) {
    std::fprintf(stderr, "tcp_proxy: %s\n", std::string(far.status().message()).c_str());
    near->reset(far.status());
    co_return;
  }
  relay(near, *far);
  relay(*far, near);
}

class Proxy final : public gyre::examples::Service {
 public:
  explicit Proxy(const Target& target) : target_(target) {}
  void serve(std::shared_ptr<IOStream> near) override {
    near->loop().spawn_callback([this, near] { return connect_and_relay(near, target_); });
  }

 private:
  const Target target_;
};

}  // namespace

int main(int argc, char** argv) {
  Target target;
  std::string to = target.host + ":" + std::to_string(target.port);
  gyre::examples::ServerProgram program;
  program.summary = "Hands every connection on to another server, both ways.";
  program.example = "--port=8888 --to=127.0.0.1:8080";
  program.stream = stream_options();
  program.add_flags = [&](gyre::examples::CommandLine& line) {
    line.flag("to", "HOST:PORT of the other server", &to, [&](const std::string& value) {
      return gyre::SocketAddress::split(value, &target.host, &target.port);
    });
  };
  program.make_service = [&](gyre::LoopPool&) { return std::make_unique<Proxy>(target); };
  return gyre::examples::run_server(argc, argv, program);
}
