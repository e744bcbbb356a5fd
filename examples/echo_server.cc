// Sends back whatever it is sent.
//
//   bazel run -c opt //examples:echo_server -- --port=8888 --threads=2
//   nc 127.0.0.1 8888

#include "gyre/examples/server_program.h"
#include "gyre/net/io_stream.h"

namespace {

// A peer that does not read is not read from either, once so much waits for it.
constexpr size_t kHighWater = 1024 * 1024;

void echo(std::shared_ptr<gyre::IOStream> connection) {
  // The callbacks belong to the stream, so they do not keep it.
  gyre::IOStream* stream = connection.get();
  stream
      ->set_read_callback([stream](std::string_view bytes) {
        stream->write(bytes);
        if (stream->write_buffer_size() > kHighWater) {
          stream->pause_reading();
          stream->set_drain_callback([stream] { stream->resume_reading(); });
        }
      })
      .IgnoreError();  // a new stream is open, and nobody else reads
}

}  // namespace

int main(int argc, char** argv) {
  return gyre::examples::run_server(argc, argv, "An echo server on gyre, one loop per thread.",
                                    echo);
}
