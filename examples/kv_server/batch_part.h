#ifndef GYRE_EXAMPLES_KV_SERVER_BATCH_PART_H_
#define GYRE_EXAMPLES_KV_SERVER_BATCH_PART_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "gyre/examples/kv_server/args.h"
#include "gyre/examples/kv_server/command.h"
#include "gyre/examples/kv_server/keyspace.h"
#include "gyre/examples/kv_server/reply.h"

namespace gyre::kv {

// What one shard does of a batch: requests, copied so that they can go to its thread, and the
// replies to them in the same order. One thread at a time.
class BatchPart {
 public:
  // To be run by run().
  void add(const Command& command, const Args& args);
  bool has_requests() const { return !requests_.empty(); }
  void run(Keyspace& keys);

  // For a request that need not be added: its reply is written to replies(), then end_reply().
  Reply& replies() { return replies_; }
  void end_reply() { ends_.push_back(replies_.size()); }

  // The replies, one by one.
  std::string_view next_reply();

  // Keeps the memory, unless it is much.
  void clear();

 private:
  struct Request {
    const Command* command;
    size_t arguments;
  };

  std::vector<Request> requests_;
  std::string bytes_;  // of the arguments of all requests
  std::vector<Span> spans_;
  Reply replies_;
  std::vector<size_t> ends_;  // of each reply
  size_t taken_ = 0;          // replies that next_reply() gave
};

}  // namespace gyre::kv

#endif  // GYRE_EXAMPLES_KV_SERVER_BATCH_PART_H_
