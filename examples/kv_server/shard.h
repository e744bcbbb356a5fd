#ifndef GYRE_EXAMPLES_KV_SERVER_SHARD_H_
#define GYRE_EXAMPLES_KV_SERVER_SHARD_H_

#include <cstddef>
#include <memory>
#include <string_view>
#include <vector>

#include "gyre/examples/kv_server/batch.h"
#include "gyre/examples/kv_server/keyspace.h"
#include "gyre/examples/kv_server/outbox.h"
#include "gyre/loop/io_loop.h"
#include "gyre/loop/periodic_callback.h"
#include "gyre/threading/loop_pool.h"

namespace gyre::kv {

// What one loop has of the server: some of the keys, and memory that its connections take turns to
// use. Loop thread only; made before, and destroyed after, connections are served.
class Shard {
 public:
  explicit Shard(IOLoop& loop);

  IOLoop& loop() const { return loop_; }
  Keyspace& keys() { return keys_; }
  Outbox& outbox() { return outbox_; }
  // Empty ones: a batch has grown its memory once it has gone round.
  std::unique_ptr<Batch> take_batch();
  void give_back(std::unique_ptr<Batch> batch);

 private:
  void sweep();

  IOLoop& loop_;
  Keyspace keys_;
  Outbox outbox_;
  std::vector<std::unique_ptr<Batch>> spare_batches_;
  PeriodicCallback sweeper_;
};

// A shard for each loop of a pool. Itself immutable. Any thread.
class Shards {
 public:
  explicit Shards(LoopPool& pool);

  size_t size() const { return shards_.size(); }
  Shard& operator[](size_t i) const { return *shards_[i]; }
  // Where a key lives.
  size_t of(std::string_view key) const;
  // That of a loop of the pool.
  size_t of(const IOLoop& loop) const;

 private:
  std::vector<std::unique_ptr<Shard>> shards_;
};

}  // namespace gyre::kv

#endif  // GYRE_EXAMPLES_KV_SERVER_SHARD_H_
