#ifndef GYRE_EXAMPLES_KV_SERVER_DIRECT_ANSWERS_H_
#define GYRE_EXAMPLES_KV_SERVER_DIRECT_ANSWERS_H_

#include <cstddef>
#include <string_view>

#include "gyre/examples/kv_server/args.h"
#include "gyre/examples/kv_server/command.h"
#include "gyre/examples/kv_server/reply.h"
#include "gyre/examples/kv_server/session.h"
#include "gyre/examples/kv_server/shard.h"

namespace gyre::kv {

// Runs requests on the only shard there is, at once: what a Batch does for several.
class DirectAnswers {
 public:
  explicit DirectAnswers(Shard& shard) : shard_(shard), replies_(shard.replies()) {}

  bool full() const { return replies_.size() >= kMostCollected; }
  void add(const Args& args, Session& session) {
    const Command* command = resolve(args, replies_);
    if (command == nullptr) return;
    if (command->on_keys != nullptr) return command->on_keys(shard_.keys(), args, replies_);
    command->on_session(session, args, replies_);
  }
  void add_error(std::string_view text) { replies_.error(text); }

 private:
  // So much is collected before it is sent.
  static constexpr size_t kMostCollected = 64 * 1024;

  Shard& shard_;
  Reply& replies_;
};

}  // namespace gyre::kv

#endif  // GYRE_EXAMPLES_KV_SERVER_DIRECT_ANSWERS_H_
