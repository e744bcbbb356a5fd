#include "gyre/net/connection_pool.h"

#include <list>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/strings/str_format.h"
#include "gyre/loop/idle_timeout.h"
#include "gyre/loop/task_root.h"
#include "gyre/net/socket_ops.h"

namespace gyre {
namespace {

std::string key_of(std::string_view host, uint16_t port) {
  return absl::StrFormat("%s %d", std::string(host), port);
}

// Ends when there is anything to read, or the stream has ended: both end its life in the pool.
Task<void> watch(std::shared_ptr<IOStream> stream) {
  static_cast<void>(co_await stream->read_bytes(1, /*partial=*/true));
}

}  // namespace

class ConnectionPool::State : public std::enable_shared_from_this<State> {
 public:
  State(IOLoop& loop, ConnectionPoolOptions options, std::shared_ptr<Resolver> resolver)
      : loop_(loop), options_(std::move(options)), client_(loop, std::move(resolver)) {}

  // An acquire() that was going on may have kept it beyond its pool.
  ~State() { clear(); }

  TCPClient& client() { return client_; }
  const ConnectOptions& connect_options() const { return options_.connect; }

  // An idle one that is alive, or nullptr.
  std::shared_ptr<IOStream> take(const std::string& key);
  void put(const std::string& key, std::shared_ptr<IOStream> stream);
  void clear() {
    while (!idle_.empty()) remove(idle_.begin())->close();
  }
  void count_connected() { ++stats_.connected; }
  Stats stats() const {
    Stats stats = stats_;
    stats.idle = idle_.size();
    return stats;
  }
  size_t idle(const std::string& key) const {
    const auto it = by_key_.find(key);
    return it == by_key_.end() ? 0 : it->second.size();
  }

 private:
  struct Idle {
    std::string key;
    std::shared_ptr<IOStream> stream;
    std::shared_ptr<internal::TaskRoot> watcher;
    std::unique_ptr<IdleTimeout> timeout;
  };
  using Place = std::list<Idle>::iterator;

  // Takes it out of the books; nobody reads from it any more.
  std::shared_ptr<IOStream> remove(Place place);
  bool watch_idle(Place place);
  void start_timeout(Place place);
  void evict(const std::string& key);

  IOLoop& loop_;
  const ConnectionPoolOptions options_;
  TCPClient client_;
  std::list<Idle> idle_;  // the one that has been idle for longest first
  absl::flat_hash_map<std::string, std::vector<Place>> by_key_;  // in the same order
  Stats stats_;
};

std::shared_ptr<IOStream> ConnectionPool::State::remove(Place place) {
  const auto it = by_key_.find(place->key);
  std::erase(it->second, place);
  if (it->second.empty()) by_key_.erase(it);
  Idle idle = std::move(*place);
  idle_.erase(place);
  if (idle.watcher != nullptr) idle.watcher->abandon(loop_);
  return std::move(idle.stream);
}

std::shared_ptr<IOStream> ConnectionPool::State::take(const std::string& key) {
  for (auto it = by_key_.find(key); it != by_key_.end(); it = by_key_.find(key)) {
    std::shared_ptr<IOStream> stream = remove(it->second.back());
    // What has arrived, and no event has told of yet: the end, or bytes that nobody asked for.
    if (!stream->closed() && internal::peek(stream->fileno()).would_block()) {
      ++stats_.reused;
      return stream;
    }
    ++stats_.ended;
    stream->close();
  }
  return nullptr;
}

void ConnectionPool::State::put(const std::string& key, std::shared_ptr<IOStream> stream) {
  stream->set_close_callback(nullptr);
  stream->set_drain_callback(nullptr);
  stream->set_watermarks(0, 1, nullptr).IgnoreError();  // closed: looked at next
  if (stream->closed() || stream->write_buffer_size() > 0 || options_.max_idle == 0 ||
      options_.max_idle_per_endpoint == 0) {
    return stream->close();
  }
  idle_.push_back({key, std::move(stream), nullptr, nullptr});
  const Place place = std::prev(idle_.end());
  by_key_[key].push_back(place);
  if (!watch_idle(place)) return;
  start_timeout(place);
  evict(key);
}

// False: there was something to read at once, or it cannot be read: it is closed.
bool ConnectionPool::State::watch_idle(Place place) {
  auto ended = std::make_shared<bool>(false);
  std::shared_ptr<internal::TaskRoot> watcher = internal::start_task(
      loop_, watch(place->stream), [](auto&) {},
      [weak = weak_from_this(), place, ended] {
        *ended = true;
        const std::shared_ptr<State> self = weak.lock();
        // Null: the task has ended while it was started, below.
        if (self == nullptr || place->watcher == nullptr) return;
        place->watcher = nullptr;
        ++self->stats_.ended;
        self->remove(place)->close();
      });
  if (*ended) {
    ++stats_.ended;
    remove(place)->close();
    return false;
  }
  place->watcher = std::move(watcher);
  return true;
}

void ConnectionPool::State::start_timeout(Place place) {
  if (options_.idle_timeout <= IOLoop::Duration::zero()) return;
  place->timeout = std::make_unique<IdleTimeout>(loop_, [this, place] {
    ++stats_.expired;
    remove(place)->close();
  });
  place->timeout->start(options_.idle_timeout);
}

void ConnectionPool::State::evict(const std::string& key) {
  const auto evict_one = [this](Place place) {
    ++stats_.evicted;
    remove(place)->close();
  };
  if (by_key_[key].size() > options_.max_idle_per_endpoint) evict_one(by_key_[key].front());
  if (idle_.size() > options_.max_idle) evict_one(idle_.begin());
}

ConnectionPool::ConnectionPool(IOLoop& loop, ConnectionPoolOptions options,
                               std::shared_ptr<Resolver> resolver)
    : state_(std::make_shared<State>(loop, std::move(options), std::move(resolver))) {}

ConnectionPool::~ConnectionPool() { clear(); }

Task<absl::StatusOr<ConnectionPool::Connection>> ConnectionPool::acquire(std::string_view host,
                                                                         uint16_t port) {
  return run_acquire(state_, std::string(host), port);
}

Task<absl::StatusOr<ConnectionPool::Connection>> ConnectionPool::run_acquire(
    std::shared_ptr<State> state, std::string host, uint16_t port) {
  const std::string key = key_of(host, port);
  if (std::shared_ptr<IOStream> stream = state->take(key)) {
    co_return Connection(state, key, std::move(stream), /*reused=*/true);
  }
  absl::StatusOr<std::shared_ptr<IOStream>> stream =
      co_await state->client().connect(host, port, state->connect_options());
  if (!stream.ok()) co_return stream.status();
  state->count_connected();
  co_return Connection(state, key, *std::move(stream), /*reused=*/false);
}

void ConnectionPool::clear() { state_->clear(); }
ConnectionPool::Stats ConnectionPool::stats() const { return state_->stats(); }
size_t ConnectionPool::idle(std::string_view host, uint16_t port) const {
  return state_->idle(key_of(host, port));
}

void ConnectionPool::Connection::give_back() {
  const std::shared_ptr<IOStream> stream = std::move(stream_);
  if (stream == nullptr) return;  // moved from
  const std::shared_ptr<State> pool = pool_.lock();
  if (pool != nullptr && reusable_) {
    pool->put(key_, stream);
  } else {
    stream->close();
  }
}

}  // namespace gyre
