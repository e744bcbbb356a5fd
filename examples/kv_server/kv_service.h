#ifndef GYRE_EXAMPLES_KV_SERVER_KV_SERVICE_H_
#define GYRE_EXAMPLES_KV_SERVER_KV_SERVICE_H_

#include <limits>
#include <memory>
#include <utility>

#include "gyre/examples/kv_server/connection.h"
#include "gyre/examples/kv_server/session.h"
#include "gyre/examples/kv_server/shard.h"
#include "gyre/examples/server_program.h"
#include "gyre/net/io_stream.h"
#include "gyre/threading/loop_pool.h"

namespace gyre::kv {

// The server without its program: a shard on each loop of a pool.
class KvService final : public examples::Service {
 public:
  explicit KvService(LoopPool& pool)
      : shards_(pool), state_(std::make_shared<ServerState>(pool.size())) {}

  void serve(std::shared_ptr<IOStream> stream) override {
    Connection::serve(shards_, state_, std::move(stream));
  }

  // Of the streams that it serves.
  static IOStreamOptions stream_options() {
    IOStreamOptions options;
    // A client that has ended may still wait for replies from other loops.
    options.allow_half_close = true;
    // Connection stops reading from a client that does not read, and one reply may be of any
    // length.
    options.max_write_buffer_size = std::numeric_limits<size_t>::max() / 2;
    return options;
  }

 private:
  const Shards shards_;
  // Connections that end with their loop outlive the service.
  const std::shared_ptr<ServerState> state_;
};

}  // namespace gyre::kv

#endif  // GYRE_EXAMPLES_KV_SERVER_KV_SERVICE_H_
