// A workload of one's own for thread_scaling: ping_scaling right|wrong [flags]. The server of
// "wrong" answers with what the client does not expect.

#include <memory>
#include <string_view>
#include <utility>

#include "gyre/benchmarks/thread_scaling.h"

int main(int argc, char** argv) {
  const bool right = argc > 1 && std::string_view(argv[1]) == "right";
  gyre::benchmarks::ScalingWorkload workload;
  workload.name = "PING";
  workload.serve([right](std::shared_ptr<gyre::IOStream> stream) -> gyre::Task<void> {
    while ((co_await stream->read_until("\r\n")).ok())
      stream->write(right ? "+PONG\r\n" : "+PANG\r\n");
  });
  workload.request = "PING\r\n";
  workload.answer = "+PONG\r\n";
  return gyre::benchmarks::run_thread_scaling(argc - 1, argv + 1, std::move(workload));
}
