// A key-value server that speaks redis' protocol, RESP2, well enough for its tools and client
// libraries: strings, counters, lists, sets, hashes and sorted sets, with expiry.
//
//     $ bazel run -c opt //examples/kv_server -- --port=7777 --threads=2
//     $ redis-cli -p 7777 SET greeting hello EX 60
//     $ redis-benchmark -p 7777 -q
//
// The keys are spread over the loops by their hash, each loop has its own and no lock guards them.
// A request for a key of another loop goes there with add_callback, as part of a Batch, and its
// reply comes back the same way; with --threads=1 there is nothing to hop over.
//
//     bytes -> RequestParser -> Connection -+-> Command -> Keyspace              one shard
//                                           +-> Batch -> parts -> Keyspaces      several
//
// What it does not have: persistence, replication, scripts, transactions, publishing. A request for
// keys of several shards (MGET, MSET, DEL, ...) is not atomic.

#include <memory>

#include "gyre/examples/kv_server/kv_service.h"
#include "gyre/examples/server_program.h"

int main(int argc, char** argv) {
  gyre::examples::ServerProgram program;
  program.summary = "A key-value server that speaks RESP2, on gyre, one loop per thread.";
  program.stream = gyre::kv::KvService::stream_options();
  // A client with its hands full then need not wake the server for each batch. Where that does not
  // pay the loops sleep as others do.
  program.spin_us = 50;
  program.make_service = [](gyre::LoopPool& pool) {
    return std::make_unique<gyre::kv::KvService>(pool);
  };
  return gyre::examples::run_server(argc, argv, program);
}
