#ifndef GYRE_NET_STREAM_CONTEXT_H_
#define GYRE_NET_STREAM_CONTEXT_H_

#include <atomic>
#include <cstdint>
#include <span>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gyre/loop/idle_wheel.h"
#include "gyre/loop/io_loop.h"
#include "gyre/net/io_stream_options.h"

namespace gyre::internal {

class StreamContext;

// InvalidArgument names an option that makes no sense.
absl::Status check(const IOStreamOptions& options);

// A counted reference, as long as a pointer.
class StreamContextRef {
 public:
  StreamContextRef() = default;
  explicit StreamContextRef(StreamContext* context);
  StreamContextRef(const StreamContextRef& other) : StreamContextRef(other.context_) {}
  StreamContextRef& operator=(StreamContextRef other) noexcept {
    std::swap(context_, other.context_);
    return *this;
  }
  ~StreamContextRef();

  StreamContext* operator->() const { return context_; }
  StreamContext& operator*() const { return *context_; }

 private:
  StreamContext* context_ = nullptr;
};

// What the streams of one loop that have the same options have in common.
class StreamContext {
 public:
  // Finds it with the loop, or makes it. InvalidArgument names an option that makes no sense.
  static absl::StatusOr<StreamContextRef> of(IOLoop& loop, const IOStreamOptions& options);

  StreamContext(IOLoop& loop, const IOStreamOptions& options);
  StreamContext(const StreamContext&) = delete;
  StreamContext& operator=(const StreamContext&) = delete;

  IdleWheel& wheel() {
    if (wheel_ == nullptr) [[unlikely]]
      make_wheel();
    return *wheel_;
  }
  // Of an entry that is armed.
  void touch(IdleEntry& entry) { wheel_->touch(entry); }

  IOLoop& loop;
  LoopCounters& counters;  // the loop's: while it is open
  const bool edge_triggered;
  // The loop's, while it is open: see LoopAccess.
  const std::span<char> receive_buffer;
  const std::span<char> cork_buffer;
  // What the stream whose callback runs has written meanwhile. It lies in the cork buffer or, where
  // the callback sends back what it was given, still in the receive buffer.
  std::string_view corked;
  const IOStreamOptions options;

 private:
  friend class StreamContextRef;

  void make_wheel();

  IdleWheel* wheel_ = nullptr;
  // The last stream of a loop may be dropped by another thread, after the loop was closed.
  std::atomic<uint32_t> references_{0};
};

inline StreamContextRef::StreamContextRef(StreamContext* context) : context_(context) {
  if (context_ != nullptr) context_->references_.fetch_add(1, std::memory_order_relaxed);
}

inline StreamContextRef::~StreamContextRef() {
  // Each release pairs with the acquire of the last one: its owner sees all that was done.
  if (context_ != nullptr && context_->references_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
    delete context_;
  }
}

}  // namespace gyre::internal

#endif  // GYRE_NET_STREAM_CONTEXT_H_
