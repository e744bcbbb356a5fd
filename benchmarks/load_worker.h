#ifndef GYRE_BENCHMARKS_LOAD_WORKER_H_
#define GYRE_BENCHMARKS_LOAD_WORKER_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "gyre/benchmarks/histogram.h"
#include "gyre/net/io_stream.h"

namespace gyre::benchmarks {

// What each connection sends, again and again: the byte at position p of its stream is known, so
// that every byte that comes back can be checked. Immutable.
class Pattern {
 public:
  explicit Pattern(size_t request_bytes);

  // `size` bytes (at most the request's, or a receive buffer's) from position `position`.
  std::string_view at(uint64_t position, size_t size) const {
    return {bytes_.data() + position % kPeriod, size};
  }

 private:
  // A prime, so that no request begins where another did before long.
  static constexpr size_t kPeriod = 65521;
  std::string bytes_;
};

struct LoadOptions {
  SocketAddress target;
  // What is sent; empty: `request_bytes` of the pattern, which come back as they are.
  std::string request = {};
  size_t request_bytes = 64;
  // What each `request` is answered with. Empty: `answer_bytes` of anything.
  std::string answer = {};
  size_t answer_bytes = 0;
  // Requests in flight on each connection.
  int pipeline = 1;
  // Each connection is for one request: after its answer it is reset, and another one made. The
  // latency is that of the connect and the answer together. Needs pipeline = 1.
  bool reconnect = false;
};

// What came of a worker's connections.
struct LoadResult {
  uint64_t requests = 0;  // answered, while the clock ran
  uint64_t connected = 0;
  uint64_t refused = 0;  // never connected
  uint64_t broken = 0;   // closed before their last answer
  uint64_t wrong_bytes = 0;
  uint64_t lost_requests = 0;  // sent, and never answered
  std::string first_error;
  Histogram latency;  // nanoseconds

  void merge(const LoadResult& other);
  bool all_came_back() const {
    return refused == 0 && broken == 0 && wrong_bytes == 0 && lost_requests == 0;
  }
};

// The connections of one loop: connects them, keeps requests in flight on each, checks what comes
// back. On its loop's thread, but for what says otherwise.
class LoadWorker {
 public:
  LoadWorker(IOLoop& loop, const LoadOptions& options, const Pattern& pattern, int connections);
  ~LoadWorker();

  // `done` is called when every connection is connected or has failed.
  void connect(std::function<void()> done);
  void start_sending();
  // From here on answers count.
  void start_measuring();
  // No more requests; `done` is called when every answer is there.
  void stop_sending(std::function<void()> done);
  // Closes the connections; what is missing now is lost.
  LoadResult finish();

  uint64_t connected() const { return connected_.load(std::memory_order_relaxed); }  // Any thread.
  uint64_t answers() const { return answers_.load(std::memory_order_relaxed); }      // Any thread.

 private:
  class Connection;

  void connect_more();
  void connection_settled();
  void connect_again(Connection& connection);
  void answered(uint64_t latency);
  void check_finished();
  void note_error(const std::string& error);

  // So many connects at once: fewer than a listening socket's backlog, so that none is dropped.
  static constexpr int kMaxConnecting = 256;

  IOLoop& loop_;
  const LoadOptions options_;
  const Pattern& pattern_;
  const int wanted_;
  int begun_ = 0;
  int settled_ = 0;
  bool sending_ = false;
  bool measuring_ = false;
  std::vector<std::unique_ptr<Connection>> connections_;
  uint64_t in_flight_ = 0;
  std::function<void()> on_connected_;
  std::function<void()> on_finished_;
  LoadResult result_;
  std::atomic<uint64_t> connected_{0};
  std::atomic<uint64_t> answers_{0};
};

}  // namespace gyre::benchmarks

#endif  // GYRE_BENCHMARKS_LOAD_WORKER_H_
