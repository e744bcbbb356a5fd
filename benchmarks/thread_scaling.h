#ifndef GYRE_BENCHMARKS_THREAD_SCALING_H_
#define GYRE_BENCHMARKS_THREAD_SCALING_H_

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "gyre/net/tcp_server.h"

namespace gyre::benchmarks {

// What thread_scaling measures: a handler, and what its clients send. Of your own:
//
//     #include "gyre/benchmarks/thread_scaling.h"
//
//     int main(int argc, char** argv) {
//       gyre::benchmarks::ScalingWorkload workload;
//       workload.name = "PING";
//       workload.serve([](std::shared_ptr<gyre::IOStream> stream) -> gyre::Task<void> {
//         while ((co_await stream->read_until("\r\n")).ok()) stream->write("+PONG\r\n");
//       });
//       workload.request = "PING\r\n";
//       workload.answer = "+PONG\r\n";
//       return gyre::benchmarks::run_thread_scaling(argc, argv, std::move(workload));
//     }
//
//     cc_binary(
//         name = "ping_scaling",
//         srcs = ["ping_scaling.cc"],
//         deps = ["@gyre//benchmarks:thread_scaling_lib"],
//     )
//
// In that cc_binary's repository: bazel run -c opt //:ping_scaling -- --help
struct ScalingWorkload {
  // In titles.
  std::string name;
  // What a client sends each time that it got its answer. Empty: --size bytes, which have to come
  // back as they are, as an echo server has it.
  std::string request;
  // What the answer to each request is, to the byte; checked. Where it differs from time to time
  // (a date), leave it empty and say how long it is.
  std::string answer;
  size_t answer_bytes = 0;

  using ServerFactory =
      std::function<std::unique_ptr<TCPServer>(LoopPool& pool, TCPServerOptions options)>;
  ServerFactory make_server;

  // The handler, as TCPServer takes it: returns void, or a Task. A copy of it serves in each run.
  template <class H>
  void serve(H handler) {
    make_server = [handler = std::move(handler)](LoopPool& pool, TCPServerOptions options) {
      return std::make_unique<TCPServer>(pool, handler, std::move(options));
    };
  }
};

// Sends back what comes.
ScalingWorkload echo_workload();

// The program: takes flags (--help), measures the workload with 1, 2, ... N loops on each backend
// and with each way to accept, prints a table, and writes CSV, JSON and a page with charts if asked
// to. Client and server are threads of this one process. Gives main()'s exit code: 0; 1 where an
// answer was wrong or missing; 2 for a wrong flag; 130 after Ctrl-C, which leaves nothing behind.
int run_thread_scaling(int argc, char** argv, ScalingWorkload workload);

}  // namespace gyre::benchmarks

#endif  // GYRE_BENCHMARKS_THREAD_SCALING_H_
