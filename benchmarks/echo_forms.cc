// An echo server in one of the forms that gyre has for it:
//   echo_forms callback|idle|coroutine [FLAGS OF echo_server]

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "gyre/examples/server_program.h"
#include "gyre/net/io_stream.h"

namespace {

using gyre::IOStream;

constexpr std::chrono::seconds kIdle(60);

void echo(std::shared_ptr<IOStream> connection) {
  IOStream* stream = connection.get();
  stream->set_read_callback([stream](std::string_view bytes) { stream->write(bytes); })
      .IgnoreError();
}

// Whatever has come, in a coroutine, whose frame has room for it.
gyre::Task<void> echo_in_coroutine(std::shared_ptr<IOStream> stream) {
  std::array<char, 4096> buffer;
  for (;;) {
    const absl::StatusOr<size_t> size = co_await stream->read_into(buffer, /*partial=*/true);
    if (!size.ok()) co_return;
    stream->write({buffer.data(), *size});
  }
}

}  // namespace

int main(int argc, char** argv) {
  const std::string form = argc > 1 ? argv[1] : "";
  gyre::TCPServer::Handler handler;
  gyre::IOStreamOptions options;
  if (form == "callback" || form == "idle") handler = echo;
  if (form == "idle") options.idle_timeout = kIdle;
  if (form == "coroutine") {
    handler = [](std::shared_ptr<IOStream> stream) {
      gyre::IOLoop& loop = stream->loop();
      loop.spawn_callback(echo_in_coroutine, std::move(stream));
    };
  }
  if (form == "--help") {
    // Ends in there.
    return gyre::examples::run_server(
        argc, argv,
        {.summary = "An echo server; the first argument is its form: callback, idle or coroutine.",
         .example = "callback --port=8888 --threads=2",
         .make_service = nullptr});
  }
  if (!handler) {
    std::fprintf(stderr,
                 "echo_forms: unknown form \"%s\": callback, idle and coroutine are known\n",
                 form.c_str());
    return 2;
  }
  return gyre::examples::run_server(argc - 1, argv + 1, "An echo server, in the form " + form + ".",
                                    std::move(handler), options);
}
