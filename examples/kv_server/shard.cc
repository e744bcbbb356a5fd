#include "gyre/examples/kv_server/shard.h"

#include <chrono>
#include <cstdint>
#include <utility>

#include "gyre/examples/kv_server/string_map.h"

namespace gyre::kv {
namespace {

constexpr std::chrono::milliseconds kSweepPeriod(100);
// Well under a millisecond; the connections have their turn before the next so many.
constexpr size_t kMostSweptPerIteration = 500;

constexpr size_t kMostSpareBatches = 64;

}  // namespace

Shard::Shard(IOLoop& loop)
    : loop_(loop),
      outbox_(loop),
      sweeper_(
          loop, [this] { sweep(); }, kSweepPeriod) {
  loop_.add_callback([this] { sweeper_.start(); });
}

void Shard::sweep() {
  if (keys_.sweep(kMostSweptPerIteration) == kMostSweptPerIteration)
    loop_.add_callback([this] { sweep(); });
}

std::unique_ptr<Batch> Shard::take_batch() {
  if (spare_batches_.empty()) return std::make_unique<Batch>();
  std::unique_ptr<Batch> batch = std::move(spare_batches_.back());
  spare_batches_.pop_back();
  return batch;
}

void Shard::give_back(std::unique_ptr<Batch> batch) {
  if (spare_batches_.size() == kMostSpareBatches) return;
  batch->clear();
  spare_batches_.push_back(std::move(batch));
}

Shards::Shards(LoopPool& pool) {
  for (size_t i = 0; i < pool.size(); ++i) shards_.push_back(std::make_unique<Shard>(pool.loop(i)));
}

size_t Shards::of(std::string_view key) const {
  // The upper half of the hash, scaled: the table of the shard goes by the lower bits.
  const uint64_t hash = StringHash()(key);
  return (hash >> 32) * shards_.size() >> 32;
}

size_t Shards::of(const IOLoop& loop) const {
  size_t i = 0;
  while (&shards_[i]->loop() != &loop) ++i;
  return i;
}

}  // namespace gyre::kv
