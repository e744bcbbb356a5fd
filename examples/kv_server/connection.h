#ifndef GYRE_EXAMPLES_KV_SERVER_CONNECTION_H_
#define GYRE_EXAMPLES_KV_SERVER_CONNECTION_H_

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "gyre/examples/kv_server/batch.h"
#include "gyre/examples/kv_server/outbox.h"
#include "gyre/examples/kv_server/request_parser.h"
#include "gyre/examples/kv_server/session.h"
#include "gyre/examples/kv_server/shard.h"
#include "gyre/net/io_stream.h"

namespace gyre::kv {

// Answers the requests of one client, in their order. On its stream's loop, but for the parts of a
// batch.
//
// With one shard every request is run where it lies, in the receive buffer. With several, what came
// together is a Batch: its parts go to their shards' loops, one hop each, and the rest of the input
// waits until they are back. Either way the replies leave through the loop's Outbox.
class Connection final : public Outbox::Sender, public std::enable_shared_from_this<Connection> {
 public:
  // `shards` is borrowed. The stream keeps the connection while it is open.
  static void serve(const Shards& shards, std::shared_ptr<ServerState> state,
                    std::shared_ptr<IOStream> stream);

  Connection(const Shards& shards, std::shared_ptr<ServerState> state,
             const std::shared_ptr<IOStream>& stream);

 private:
  void send(std::string_view replies) override;

  // The stream's callbacks.
  void received(IOStream& stream, std::string_view bytes);
  void drained(IOStream& stream);

  bool ready() const { return batch_ == nullptr && !unread_output_ && !session_.closing; }
  // Answers what it can now, and decides what comes next.
  void go_on(IOStream& stream);
  // A drain waits for replies that are still on their way.
  bool owes_replies() const { return batch_ != nullptr || unsent_ > 0; }
  void close_when_sent(IOStream& stream);
  // These give how many bytes they took: whole requests.
  size_t answer(std::string_view bytes);
  size_t answer_here(std::string_view bytes);
  size_t answer_in_batch(std::string_view bytes);
  template <class Sink>
  size_t take_requests(std::string_view bytes, Sink& sink);

  // Hands the parts of the batch to their shards; the last to come back sends the replies.
  void visit_shards();
  void run_part_on_loop(size_t shard);
  void part_came_back();
  void finish_batch();
  void claim_replies();

  const Shards& shards_;
  const size_t home_index_;
  Shard& home_;
  const std::weak_ptr<IOStream> stream_;  // for when a batch comes back
  Session session_;
  RequestParser parser_;
  std::string rest_;                    // received and not answered
  bool ended_ = false;                  // the client sends no more
  bool unread_output_ = false;          // the client does not read: it is not read from either
  bool closes_when_sent_ = false;       // nothing more is to be answered
  size_t unsent_ = 0;                   // parcels in the outbox
  std::optional<IOStream::Busy> busy_;  // while it owes replies
  size_t parts_away_ = 0;               // of batch_
  std::unique_ptr<Batch> batch_;        // while it is at the shards
};

}  // namespace gyre::kv

#endif  // GYRE_EXAMPLES_KV_SERVER_CONNECTION_H_
