#ifndef GYRE_EXAMPLES_KV_SERVER_OUTBOX_H_
#define GYRE_EXAMPLES_KV_SERVER_OUTBOX_H_

#include <cstddef>
#include <memory>
#include <string_view>
#include <vector>

#include "gyre/examples/kv_server/reply.h"
#include "gyre/loop/io_loop.h"

namespace gyre::kv {

// The replies of all connections of a loop, which go out together once everybody who was ready has
// been answered: then each wakes a client that has others to go on with, and both sides sleep less.
// Loop thread only.
//
//     [ replies of one | of another | of the first again | being written ]
//                      ^ ends of the parcels
class Outbox {
 public:
  class Sender {
   public:
    // `replies` is valid during the call, which must not add to the outbox.
    virtual void send(std::string_view replies) = 0;

   protected:
    ~Sender() = default;
  };

  explicit Outbox(IOLoop& loop) : loop_(loop) {}

  // To be written to, and then claimed with add().
  Reply& replies() { return replies_; }
  // What was written since the last call is the sender's: it is sent at the beginning of the next
  // iteration, before the loop polls, or at once if it is much by now.
  void add(std::shared_ptr<Sender> sender);

 private:
  struct Parcel {
    std::shared_ptr<Sender> sender;
    size_t end;
  };

  void flush();

  IOLoop& loop_;
  Reply replies_;
  std::vector<Parcel> parcels_;
  bool flush_is_posted_ = false;
};

}  // namespace gyre::kv

#endif  // GYRE_EXAMPLES_KV_SERVER_OUTBOX_H_
