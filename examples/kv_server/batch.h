#ifndef GYRE_EXAMPLES_KV_SERVER_BATCH_H_
#define GYRE_EXAMPLES_KV_SERVER_BATCH_H_

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "gyre/examples/kv_server/batch_part.h"

namespace gyre::kv {

class Shards;

// What a connection asks at once, where the keys are spread over several loops: one part for each
// shard, so that a shard is visited once, however many requests concern it.
//
//     requests  GET a      MGET a b          PING
//     parts     0: GET a   0: MGET a         home: PING
//                          1: MGET b
//     steps     one of 0   array of 0 and 1  one of home
//
// A request for several keys is cut into pieces, of which each runs when its shard comes to it: it
// is not atomic over shards. For each shard, and so for each key, the order is that of the
// requests.
class Batch {
 public:
  // For a connection that lives on the shard `home`.
  void begin(const Shards& shards, size_t home);

  // Home's thread, one request. Runs what is home's at once, and adds the rest to the parts of the
  // others.
  void add(const Args& args, Session& session);
  void add_error(std::string_view text);
  bool empty() const { return order_.empty(); }
  // The replies to a batch are in memory all at once.
  bool full() const { return order_.size() >= kMostPieces; }

  // Shards, other than home, that have something to do; run() does it, in their thread.
  bool concerns(size_t shard) const { return parts_[shard].has_requests(); }
  void run(size_t shard, Keyspace& keys) { parts_[shard].run(keys); }

  // Home's thread, once every part was run: the replies, in the order of the requests.
  void merge(Reply& replies);
  void clear();

 private:
  // A request: how many pieces it was cut into, and how their replies become one.
  struct Step {
    Merge merge;
    size_t pieces;
  };

  size_t add_pieces(const Command& command, const Args& args, Session& session);
  void add_piece(size_t shard, const Command& command, const Args& args);
  // What was written to home's replies is one piece.
  void end_home_piece();
  std::string_view next_reply() { return parts_[order_[next_++]].next_reply(); }

  static constexpr size_t kMostPieces = 512;

  const Shards* shards_ = nullptr;
  size_t home_ = 0;
  std::vector<BatchPart> parts_;
  std::vector<uint16_t> order_;  // for each piece its shard
  std::vector<Step> steps_;
  size_t next_ = 0;  // in order_, for merge()
};

}  // namespace gyre::kv

#endif  // GYRE_EXAMPLES_KV_SERVER_BATCH_H_
