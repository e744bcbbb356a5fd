// Answers each line with whose connection it is, and the line: "192.0.2.1 LINE". For the tests that
// put a load balancer in front.

#include <memory>
#include <string>
#include <string_view>

#include "gyre/examples/server_program.h"
#include "gyre/net/proxied_peer.h"

namespace {

// Gives how many bytes were of whole lines.
size_t answer_lines(gyre::IOStream& stream, const std::string& peer, std::string_view bytes) {
  size_t taken = 0;
  for (size_t end; (end = bytes.find('\n', taken)) != std::string_view::npos; taken = end + 1) {
    stream.write(peer + " " + std::string(bytes.substr(taken, end + 1 - taken)));
  }
  return taken;
}

void serve(std::shared_ptr<gyre::IOStream> stream) {
  const absl::StatusOr<gyre::SocketAddress> peer = gyre::original_peer_address(*stream);
  if (!peer.ok()) return stream->close();  // it has been reset
  stream
      ->set_read_callback([stream = stream.get(), host = peer->host()](std::string_view bytes) {
        return answer_lines(*stream, host, bytes);
      })
      .IgnoreError();
}

}  // namespace

int main(int argc, char** argv) {
  return gyre::examples::run_server(argc, argv, "Answers each line with whose connection it is.",
                                    serve);
}
