#ifndef GYRE_NET_LOOP_CONNECTIONS_H_
#define GYRE_NET_LOOP_CONNECTIONS_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/functional/function_ref.h"
#include "gyre/loop/counter.h"
#include "gyre/net/admission.h"
#include "gyre/net/place_signal.h"
#include "gyre/net/proxy_protocol.h"

namespace gyre {

class IOLoop;
class IOStream;

namespace internal {

// A connection of a server that is counted, and is no stream yet.
class PendingConnection {
 public:
  // Closes it, and takes it out of the loop's books.
  virtual void drop() = 0;

 protected:
  ~PendingConnection() = default;
};

// One server's open connections on one loop. The count is right from the moment a connection is
// assigned to the loop, on whatever thread, until its stream is closed; which streams they are is
// in the loop's table of handlers.
class LoopConnections : public std::enable_shared_from_this<LoopConnections> {
 public:
  // `freed` is notified after a connection was closed.
  explicit LoopConnections(IOLoop& loop, std::shared_ptr<PlaceSignal> freed = nullptr)
      : loop_(loop), freed_(std::move(freed)) {}
  LoopConnections(const LoopConnections&) = delete;
  LoopConnections& operator=(const LoopConnections&) = delete;

  IOLoop& loop() const { return loop_; }

  // Any thread.
  void count_assigned() { open_.fetch_add(1, std::memory_order_relaxed); }
  // A connection that was counted, and never became a stream.
  void count_lost() {
    open_.fetch_sub(1, std::memory_order_release);
    if (freed_ != nullptr) freed_->notify();
  }
  uint64_t open() const { return open_.load(std::memory_order_acquire); }
  uint64_t accepted() const { return accepted_.get(); }
  // Of the streams that are closed.
  uint64_t bytes_received() const { return bytes_received_.get(); }
  uint64_t bytes_sent() const { return bytes_sent_.get(); }

  // Loop thread only.
  void add(IOStream& stream, Place place = {});  // counted before
  void remove(IOStream& stream);                 // called by the stream as it closes
  // `visit` may close the stream that it is given.
  void for_each(absl::FunctionRef<void(IOStream&)> visit);
  void add_pending(PendingConnection& pending) { pending_.insert(&pending); }
  void remove_pending(PendingConnection& pending) { pending_.erase(&pending); }
  void drop_pending();
  // What a load balancer said of a stream that was added; until it closes.
  void set_proxy_header(const IOStream& stream, const ProxyHeader& header) {
    proxy_headers_.insert_or_assign(&stream, header);
  }
  static const ProxyHeader* proxy_header(const IOStream& stream);

  // Closes them all, which counts as cut off.
  void cut_off_all();

  // Who is told of the connections that come and go, on the loop's thread.
  class Watcher {
   public:
    virtual void added(IOStream& stream) = 0;
    virtual void removed(const IOStream& stream, bool cut_off) = 0;
    // None is left: the last call, unless there was none from the start.
    virtual void all_gone() = 0;
    virtual ~Watcher() = default;
  };
  // Kept until no connection is left. Loop thread only.
  void watch(std::shared_ptr<Watcher> watcher) { watchers_.push_back(std::move(watcher)); }
  bool has_none() const { return streams_ == 0; }

 private:
  void tell_watchers_of_end(const IOStream& stream);

  IOLoop& loop_;
  const std::shared_ptr<PlaceSignal> freed_;
  size_t streams_ = 0;
  bool cutting_off_ = false;
  absl::flat_hash_set<PendingConnection*> pending_;
  absl::flat_hash_map<const IOStream*, ProxyHeader> proxy_headers_;
  std::shared_ptr<LoopConnections> self_;              // while there are streams
  std::unordered_map<const IOStream*, Place> places_;  // where connections are limited
  std::vector<std::shared_ptr<Watcher>> watchers_;
  alignas(64) std::atomic<uint64_t> open_{0};
  // Written by the loop alone.
  alignas(64) Counter accepted_;
  Counter bytes_received_;
  Counter bytes_sent_;
};

}  // namespace internal
}  // namespace gyre

#endif  // GYRE_NET_LOOP_CONNECTIONS_H_
