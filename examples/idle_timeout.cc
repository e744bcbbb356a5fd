// Closes a connection on which nothing was received for two seconds. A timer that is armed anew
// with each byte would cost more than the byte; an IdleTimeout costs one store.
//
//   bazel run //examples:idle_timeout -- --port=8888
//   nc 127.0.0.1 8888        and wait

#include <chrono>
#include <memory>
#include <string_view>

#include "gyre/examples/server_program.h"
#include "gyre/loop/idle_timeout.h"
#include "gyre/net/io_stream.h"

namespace {

constexpr std::chrono::seconds kLimit(2);

void serve(std::shared_ptr<gyre::IOStream> connection) {
  gyre::IOStream* stream = connection.get();
  // Owned by the read callback, which lives as long as the stream is open.
  auto idle = std::make_unique<gyre::IdleTimeout>(stream->loop(), [stream] {
    stream->write("you were idle\n");
    stream->close_when_flushed();
  });
  idle->start(kLimit);
  stream
      ->set_read_callback([stream, idle = std::move(idle)](std::string_view bytes) {
        idle->touch();
        stream->write(bytes);
      })
      .IgnoreError();  // a new stream is open, and nobody else reads
}

}  // namespace

int main(int argc, char** argv) {
  return gyre::examples::run_server(
      argc, argv, "An echo server that closes connections that are idle for two seconds.", serve);
}
