#include "gyre/benchmarks/load_worker.h"

#include <sys/socket.h>

#include <algorithm>
#include <chrono>
#include <utility>

namespace gyre::benchmarks {
namespace {

uint64_t now_nanoseconds() { return std::chrono::steady_clock::now().time_since_epoch().count(); }

}  // namespace

Pattern::Pattern(size_t request_bytes) {
  constexpr size_t kReceiveBuffer = 64 * 1024;
  bytes_.resize(kPeriod + std::max(request_bytes, kReceiveBuffer));
  uint32_t state = 12345;  // a linear congruential generator: any bytes that do not repeat soon
  for (size_t i = 0; i < bytes_.size(); ++i) {
    if (i < kPeriod) state = state * 1664525u + 1013904223u;
    bytes_[i] = i < kPeriod ? static_cast<char>(state >> 24) : bytes_[i - kPeriod];
  }
}

void LoadResult::merge(const LoadResult& other) {
  requests += other.requests;
  connected += other.connected;
  refused += other.refused;
  broken += other.broken;
  wrong_bytes += other.wrong_bytes;
  lost_requests += other.lost_requests;
  if (first_error.empty()) first_error = other.first_error;
  latency.merge(other.latency);
}

class LoadWorker::Connection {
 public:
  Connection(LoadWorker& worker, std::shared_ptr<IOStream> stream, uint64_t first_position)
      : worker_(worker),
        sent_(first_position),
        received_(first_position),
        sent_at_(worker.options_.pipeline) {
    attach(std::move(stream));
  }

  void fill_pipeline() {
    while (worker_.sending_ && in_flight() < sent_at_.size() && !stream_->closed()) {
      begin_request();
      send_request();
    }
  }

  uint64_t in_flight() const { return begun_ - answered_; }

  // What was in flight will not be answered.
  void lose_requests() {
    worker_.in_flight_ -= in_flight();
    worker_.result_.lost_requests += in_flight();
    answered_ = begun_;
  }

  void close() {
    stream_->set_close_callback(nullptr);
    stream_->close();
  }

  // ---- With LoadOptions::reconnect

  void begin_request() {
    sent_at_[begun_++ % sent_at_.size()] = now_nanoseconds();
    ++worker_.in_flight_;
  }

  void use(std::shared_ptr<IOStream> stream) {
    attach(std::move(stream));
    send_request();
  }

 private:
  void attach(std::shared_ptr<IOStream> stream) {
    stream_ = std::move(stream);
    stream_->set_close_callback([this](const absl::Status& reason) { closed(reason); });
    stream_->set_read_callback([this](std::string_view bytes) { receive(bytes); }).IgnoreError();
  }

  void send_request() {
    const LoadOptions& options = worker_.options_;
    if (!options.request.empty()) {
      stream_->write(options.request);
      return;
    }
    stream_->write(worker_.pattern_.at(sent_, options.request_bytes));
    sent_ += options.request_bytes;
  }

  size_t answer_bytes() const {
    const LoadOptions& options = worker_.options_;
    if (options.request.empty()) return options.request_bytes;
    return options.answer.empty() ? options.answer_bytes : options.answer.size();
  }

  void receive(std::string_view bytes) {
    check(bytes);
    partial_ += bytes.size();
    const size_t size = answer_bytes();
    if (partial_ < size) return;
    const uint64_t now = now_nanoseconds();
    for (; partial_ >= size; partial_ -= size) {
      if (in_flight() == 0) {  // more than was asked for
        worker_.result_.wrong_bytes += partial_;
        return;
      }
      worker_.answered(now - sent_at_[answered_++ % sent_at_.size()]);
    }
    if (worker_.options_.reconnect) {
      reset();
      if (worker_.sending_) worker_.connect_again(*this);
    } else {
      fill_pipeline();
    }
    worker_.check_finished();
  }

  void check(std::string_view bytes) {
    const LoadOptions& options = worker_.options_;
    if (options.request.empty()) {
      count_wrong(bytes, worker_.pattern_.at(received_, bytes.size()));
      received_ += bytes.size();
    } else if (!options.answer.empty()) {
      size_t at = partial_;
      while (!bytes.empty()) {
        const std::string_view expected = std::string_view(options.answer).substr(at, bytes.size());
        count_wrong(bytes.substr(0, expected.size()), expected);
        bytes.remove_prefix(expected.size());
        at = 0;
      }
    }
  }

  void count_wrong(std::string_view bytes, std::string_view expected) {
    if (bytes == expected) return;
    uint64_t wrong = 0;
    for (size_t i = 0; i < bytes.size(); ++i) wrong += bytes[i] != expected[i];
    worker_.result_.wrong_bytes += wrong;
  }

  // With a reset, so that no port waits in TIME_WAIT: there are 28,000 of them, a second's worth.
  void reset() {
    const linger at_once{1, 0};
    ::setsockopt(stream_->fileno(), SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
    close();
    received_ = sent_;
  }

  void closed(const absl::Status& reason) {
    ++worker_.result_.broken;
    worker_.note_error("a connection was closed" +
                       (reason.ok() ? std::string() : ": " + reason.ToString()));
    lose_requests();
    worker_.check_finished();
  }

  LoadWorker& worker_;
  std::shared_ptr<IOStream> stream_;
  uint64_t sent_;  // positions in the pattern
  uint64_t received_;
  size_t partial_ = 0;  // bytes of an answer that has begun
  uint64_t begun_ = 0;
  uint64_t answered_ = 0;
  std::vector<uint64_t> sent_at_;  // a ring over the requests in flight
};

LoadWorker::LoadWorker(IOLoop& loop, const LoadOptions& options, const Pattern& pattern,
                       int connections)
    : loop_(loop), options_(options), pattern_(pattern), wanted_(connections) {}

LoadWorker::~LoadWorker() = default;

void LoadWorker::connect(std::function<void()> done) {
  on_connected_ = std::move(done);
  if (wanted_ == 0) return on_connected_();
  connect_more();
}

void LoadWorker::connect_more() {
  while (begun_ < wanted_ && begun_ - settled_ < kMaxConnecting) {
    const uint64_t first_position = 7919u * static_cast<uint64_t>(begun_++);  // no two alike
    IOStream::connect(loop_, options_.target,
                      [this, first_position](absl::StatusOr<std::shared_ptr<IOStream>> stream) {
                        if (stream.ok()) {
                          connections_.push_back(std::make_unique<Connection>(
                              *this, *std::move(stream), first_position));
                          connected_.fetch_add(1, std::memory_order_relaxed);
                          ++result_.connected;
                        } else {
                          ++result_.refused;
                          note_error(stream.status().ToString());
                        }
                        connection_settled();
                      });
  }
}

void LoadWorker::connection_settled() {
  ++settled_;
  if (settled_ == wanted_) return on_connected_();
  connect_more();
}

void LoadWorker::connect_again(Connection& connection) {
  connection.begin_request();
  IOStream::connect(loop_, options_.target,
                    [this, &connection](absl::StatusOr<std::shared_ptr<IOStream>> stream) {
                      if (stream.ok()) return connection.use(*std::move(stream));
                      ++result_.refused;
                      note_error(stream.status().ToString());
                      connection.lose_requests();
                      check_finished();
                    });
}

void LoadWorker::start_sending() {
  sending_ = true;
  for (const std::unique_ptr<Connection>& connection : connections_) connection->fill_pipeline();
}

void LoadWorker::start_measuring() { measuring_ = true; }

void LoadWorker::stop_sending(std::function<void()> done) {
  sending_ = measuring_ = false;
  on_finished_ = std::move(done);
  check_finished();
}

void LoadWorker::answered(uint64_t latency) {
  --in_flight_;
  answers_.store(answers_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  if (!measuring_) return;
  ++result_.requests;
  result_.latency.add(latency);
}

void LoadWorker::check_finished() {
  if (in_flight_ == 0 && on_finished_) std::exchange(on_finished_, nullptr)();
}

LoadResult LoadWorker::finish() {
  on_finished_ = nullptr;
  for (const std::unique_ptr<Connection>& connection : connections_) {
    result_.lost_requests += connection->in_flight();
    connection->close();
  }
  return std::move(result_);
}

void LoadWorker::note_error(const std::string& error) {
  if (result_.first_error.empty()) result_.first_error = error;
}

}  // namespace gyre::benchmarks
