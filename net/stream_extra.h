#ifndef GYRE_NET_STREAM_EXTRA_H_
#define GYRE_NET_STREAM_EXTRA_H_

#include <chrono>
#include <memory>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "gyre/loop/idle_wheel.h"
#include "gyre/net/byte_buffer.h"
#include "gyre/net/io_stream.h"
#include "gyre/net/read_request.h"
#include "gyre/net/write_queue.h"

namespace gyre {

// The timeout of a read, or of the output.
class IOStream::Deadline final : public internal::IdleEntry {
 public:
  Deadline(IOStream& stream, const char* name) : stream_(stream), name_(name) {}
  ~Deadline() { stop(); }

  void start(std::chrono::nanoseconds timeout);
  void touch() {
    if (armed()) stream_.context_->touch(*this);
  }
  void stop() {
    if (armed()) stream_.context_->wheel().disarm(*this);
  }

 private:
  void expired() override;

  IOStream& stream_;
  const char* const name_;
};

// What a stream has beyond an idle connection. Made at first use; stays with the stream.
struct IOStream::Extra {
  // Received and not taken.
  internal::ByteBuffer input;
  internal::ReadWaiter* waiter = nullptr;  // while a read is pending
  ReadCallback next_read_callback;         // set while the other one runs
  std::chrono::nanoseconds read_timeout{0};
  std::unique_ptr<Deadline> read_deadline;

  // Submitted and not sent.
  internal::WriteQueue output;
  internal::WriteAwaiter* first_writer = nullptr;  // in order of submission
  internal::WriteAwaiter* last_writer = nullptr;
  absl::AnyInvocable<void()> drain_callback;
  std::chrono::nanoseconds write_timeout{0};
  std::unique_ptr<Deadline> write_deadline;
  struct Watermarks {
    size_t low;
    size_t high;
    absl::AnyInvocable<void(bool above)> callback;
    bool above = false;
    bool told = false;  // what `above` is
  };
  std::shared_ptr<Watermarks> watermarks;  // kept by the call of its callback

  absl::Status close_reason;
  uint32_t busy_holds = 0;  // of keep_busy()
};

inline bool IOStream::has_input() const { return extra_ != nullptr && !extra_->input.empty(); }

inline bool IOStream::has_request() const { return extra_ != nullptr && extra_->waiter != nullptr; }

inline bool IOStream::has_output() const { return extra_ != nullptr && !extra_->output.empty(); }

inline bool IOStream::wants_input() const {
  return !input_ended_ && !paused_ && !flushing_ && (read_callback_ || has_request());
}

// After whatever may change what the poller should watch.
inline void IOStream::update_interest() {
  if (context_->edge_triggered && !has_output()) [[likely]]
    return;
  change_interest();
}

}  // namespace gyre

#endif  // GYRE_NET_STREAM_EXTRA_H_
