// How a connection's batch goes to the shards' loops and comes back.

#include <utility>

#include "gyre/examples/kv_server/connection.h"

namespace gyre::kv {

void Connection::visit_shards() {
  const std::shared_ptr<Connection> self = shared_from_this();
  for (size_t shard = 0; shard < shards_.size(); ++shard) {
    if (!batch_->concerns(shard)) continue;
    ++parts_away_;
    // A loop refuses once it is closed: the server ends, and nobody waits for the replies.
    shards_[shard].loop().add_callback([self, shard] { self->run_part_on_loop(shard); });
  }
  if (parts_away_ == 0) finish_batch();
}

// On the shard's loop. Home does not touch the batch before all of it is back.
void Connection::run_part_on_loop(size_t shard) {
  batch_->run(shard, shards_[shard].keys());
  home_.loop().add_callback([self = shared_from_this()] { self->part_came_back(); });
}

void Connection::part_came_back() {
  if (--parts_away_ > 0) return;
  const std::shared_ptr<IOStream> stream = stream_.lock();
  if (stream == nullptr || stream->closed()) return home_.give_back(std::move(batch_));
  finish_batch();
  go_on(*stream);
}

void Connection::finish_batch() {
  const bool empty = batch_->empty();
  batch_->merge(home_.outbox().replies());
  home_.give_back(std::move(batch_));
  if (!empty) claim_replies();
}

}  // namespace gyre::kv
