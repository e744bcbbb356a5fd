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
  explicit DirectAnswers(Shard& shard) : shard_(shard), replies_(shard.outbox().replies()) {}

  bool full() const { return replies_.size() - begin_ >= kMostAtOnce; }
  void add(const Args& args, Session& session) {
    const Command* command = resolve(args, replies_);
    if (command == nullptr) return;
    if (command->on_keys != nullptr) return command->on_keys(shard_.keys(), args, replies_);
    command->on_session(session, args, replies_);
  }
  void add_error(std::string_view text) { replies_.error(text); }
  bool empty() const { return replies_.size() == begin_; }

 private:
  // Before it is seen whether the client reads.
  static constexpr size_t kMostAtOnce = 64 * 1024;

  Shard& shard_;
  Reply& replies_;
  const size_t begin_ = replies_.size();
};

}  // namespace gyre::kv

#endif  // GYRE_EXAMPLES_KV_SERVER_DIRECT_ANSWERS_H_
