#ifndef GYRE_NET_CONNECTION_POOL_H_
#define GYRE_NET_CONNECTION_POOL_H_

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/statusor.h"
#include "gyre/loop/io_loop.h"
#include "gyre/loop/task.h"
#include "gyre/net/io_stream.h"
#include "gyre/net/tcp_client.h"

namespace gyre {

struct ConnectionPoolOptions {
  // Idle connections that are kept, for each endpoint and in total; what is beyond is closed, the
  // one that has been idle for longest first.
  size_t max_idle_per_endpoint = 8;
  size_t max_idle = 256;
  // So long an idle connection is kept, give or take a quarter of a second. Less than the servers'
  // own timeout, so that they do not end it just as it is used. Zero: for ever.
  IOLoop::Duration idle_timeout = std::chrono::seconds(30);
  // Of new connections.
  ConnectOptions connect = {};
};

// Connections to servers that are used again, on one loop. Loop thread only; to be destroyed before
// its loop. Connections that are out when the pool is destroyed close when they come back.
class ConnectionPool {
 public:
  // A connection that is checked out. When it is destroyed it goes back, if reuse() was called,
  // else it is closed. Move-only.
  class [[nodiscard]] Connection;

  // Shares a resolver with others; without one it has its own. The loop is borrowed.
  explicit ConnectionPool(IOLoop& loop, ConnectionPoolOptions options = {},
                          std::shared_ptr<Resolver> resolver = nullptr);
  ~ConnectionPool();
  ConnectionPool(const ConnectionPool&) = delete;
  ConnectionPool& operator=(const ConnectionPool&) = delete;

  // co_await acquire(host, port): absl::StatusOr<Connection>: the idle one that was used last, or a
  // new one. An idle one whose server has ended, or has sent what nobody asked for, is not given.
  // (It may end just afterwards: a request that fails on a connection that was reused() may be sent
  // again.) Fails as TCPClient::connect.
  Task<absl::StatusOr<Connection>> acquire(std::string_view host, uint16_t port);

  // Closes all that are idle.
  void clear();

  struct Stats {
    size_t idle = 0;
    uint64_t connected = 0;  // new ones
    uint64_t reused = 0;
    uint64_t ended = 0;    // while idle: by the server, or by bytes that nobody asked for
    uint64_t expired = 0;  // see idle_timeout
    uint64_t evicted = 0;  // beyond max_idle, or max_idle_per_endpoint
  };
  Stats stats() const;
  size_t idle(std::string_view host, uint16_t port) const;

 private:
  class State;
  static Task<absl::StatusOr<Connection>> run_acquire(std::shared_ptr<State> state,
                                                      std::string host, uint16_t port);

  const std::shared_ptr<State> state_;
};

class [[nodiscard]] ConnectionPool::Connection {
 public:
  Connection(Connection&&) noexcept = default;
  Connection& operator=(Connection&& other) noexcept {
    if (this != &other) {
      give_back();
      stream_ = std::move(other.stream_);
      pool_ = std::move(other.pool_);
      key_ = std::move(other.key_);
      reused_ = other.reused_;
      reusable_ = other.reusable_;
    }
    return *this;
  }
  ~Connection() { give_back(); }

  IOStream& operator*() const { return *stream_; }
  IOStream* operator->() const { return stream_.get(); }
  const std::shared_ptr<IOStream>& stream() const { return stream_; }

  // It was idle in the pool before.
  bool reused() const { return reused_; }

  // The exchange is complete, and the next one may begin on this connection: nothing of it is left
  // to be read or written, and the stream has no read callback. What is not so is noticed, and
  // closed. It goes back when this object is destroyed.
  void reuse() { reusable_ = true; }

 private:
  friend class ConnectionPool;
  Connection(std::weak_ptr<State> pool, std::string key, std::shared_ptr<IOStream> stream,
             bool reused)
      : pool_(std::move(pool)), key_(std::move(key)), stream_(std::move(stream)), reused_(reused) {}

  void give_back();

  std::weak_ptr<State> pool_;
  std::string key_;
  std::shared_ptr<IOStream> stream_;
  bool reused_;
  bool reusable_ = false;
};

}  // namespace gyre

#endif  // GYRE_NET_CONNECTION_POOL_H_
