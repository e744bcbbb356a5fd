#ifndef GYRE_NET_STREAM_AWAITERS_H_
#define GYRE_NET_STREAM_AWAITERS_H_

// What the read_* and write of an IOStream give. Included by io_stream.h.

#include <coroutine>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/functional/function_ref.h"
#include "gyre/net/io_stream.h"

namespace gyre::internal {

// co_await gives an absl::StatusOr<std::string>. The stream has to live until it is awaited.
class [[nodiscard]] ReadAwaiter final : private ReadWaiter {
 public:
  ReadAwaiter(IOStream& stream, ReadRequest request)
      : stream_(&stream), request_(std::move(request)) {}
  ReadAwaiter(const ReadAwaiter&) = delete;
  ReadAwaiter& operator=(const ReadAwaiter&) = delete;
  ~ReadAwaiter() {
    if (root_ != nullptr) stream_->cancel_request(*this);
  }

  bool await_ready() const noexcept { return false; }
  template <TaskPromise P>
  bool await_suspend(std::coroutine_handle<P> coroutine) {
    std::optional<absl::StatusOr<std::string>> answer =
        stream_->request(std::move(request_), *this);
    if (answer.has_value()) {
      result_ = *std::move(answer);
      return false;
    }
    root_ = coroutine.promise().root;
    epoch_ = root_->suspend(coroutine);
    keep_ = stream_->shared_from_this();
    return true;
  }
  absl::StatusOr<std::string> await_resume() { return std::move(result_); }

 private:
  void read_done(absl::StatusOr<std::string> result) override {
    result_ = std::move(result);
    // Kept over the resumption: it may destroy the coroutine, and this with it.
    const std::shared_ptr<TaskRoot> root = std::exchange(root_, nullptr)->shared_from_this();
    root->resume(epoch_);
  }
  void read_dropped() override { root_ = nullptr; }

  IOStream* const stream_;
  ReadRequest request_;
  TaskRoot* root_ = nullptr;  // while it waits
  uint64_t epoch_ = 0;
  std::shared_ptr<IOStream> keep_;
  absl::StatusOr<std::string> result_ = absl::UnknownError("not read");
};

// co_await gives an absl::Status. May be dropped: the bytes are on their way all the same.
class WriteAwaiter final {
 public:
  WriteAwaiter(IOStream& stream, bool accepted)
      : stream_(&stream), target_(stream.bytes_submitted_), accepted_(accepted) {}
  WriteAwaiter(const WriteAwaiter&) = delete;
  WriteAwaiter& operator=(const WriteAwaiter&) = delete;
  ~WriteAwaiter() {
    if (root_ != nullptr) unlink();
  }

  // False: the stream is closed or closing, or its buffer is full; nothing of the bytes was taken.
  bool accepted() const { return accepted_; }

  bool await_ready();
  template <TaskPromise P>
  void await_suspend(std::coroutine_handle<P> coroutine) {
    root_ = coroutine.promise().root;
    epoch_ = root_->suspend(coroutine);
    keep_ = stream_->shared_from_this();
    link();
  }
  absl::Status await_resume();

 private:
  friend class gyre::IOStream;

  bool sent() const { return stream_->bytes_sent_ >= target_; }
  void link();
  void unlink();
  void resume() {
    unlink();
    const std::shared_ptr<TaskRoot> root = std::exchange(root_, nullptr)->shared_from_this();
    root->resume(epoch_);
  }

  IOStream* const stream_;
  const uint64_t target_;  // sent once the stream has sent so many bytes
  const bool accepted_;
  TaskRoot* root_ = nullptr;  // while it waits
  uint64_t epoch_ = 0;
  std::shared_ptr<IOStream> keep_;
  WriteAwaiter* next_ = nullptr;
};

struct StreamAccess {
  static std::optional<absl::StatusOr<std::string>> request(IOStream& stream, ReadRequest request,
                                                            ReadWaiter& waiter) {
    return stream.request(std::move(request), waiter);
  }
  // Calls a callback of the stream: what it writes is sent together, and if it throws the stream
  // closes.
  static void deliver(IOStream& stream, absl::FunctionRef<void()> callback);
};

// A read with a callback. On the heap; deletes itself once it is told.
template <class F>
class CallbackReader final : private ReadWaiter {
 public:
  static void start(IOStream& stream, ReadRequest request, F callback) {
    auto* reader = new CallbackReader(std::move(callback));
    std::optional<absl::StatusOr<std::string>> answer =
        StreamAccess::request(stream, std::move(request), *reader);
    if (!answer.has_value()) return;
    // Never inside the call that asked.
    stream.loop().add_callback([stream = stream.shared_from_this(),
                                owned = std::unique_ptr<CallbackReader>(reader),
                                answer = *std::move(answer)]() mutable {
      StreamAccess::deliver(*stream, [&] { owned->callback_(std::move(answer)); });
    });
  }

 private:
  explicit CallbackReader(F callback) : callback_(std::move(callback)) {}

  void read_done(absl::StatusOr<std::string> result) override {
    const std::unique_ptr<CallbackReader> owned(this);
    callback_(std::move(result));
  }
  void read_dropped() override { delete this; }

  F callback_;
};

}  // namespace gyre::internal

namespace gyre {

inline internal::ReadAwaiter IOStream::read_bytes(size_t count, bool partial) {
  return internal::ReadAwaiter(*this, internal::ReadBytes{count, partial});
}
inline internal::ReadAwaiter IOStream::read_until(std::string_view delimiter, size_t max_bytes) {
  return internal::ReadAwaiter(*this, internal::ReadUntil{std::string(delimiter), max_bytes});
}
inline internal::ReadAwaiter IOStream::read_until_close() {
  return internal::ReadAwaiter(*this, internal::ReadUntilClose{});
}
inline internal::WriteAwaiter IOStream::write(std::string_view bytes) {
  const bool accepted = submit(bytes);
  return internal::WriteAwaiter(*this, accepted);
}

template <class F>
requires std::is_invocable_v<F&, absl::StatusOr<std::string>>
void IOStream::read_bytes(size_t count, F callback, bool partial) {
  internal::CallbackReader<F>::start(*this, internal::ReadBytes{count, partial},
                                     std::move(callback));
}
template <class F>
requires std::is_invocable_v<F&, absl::StatusOr<std::string>>
void IOStream::read_until(std::string_view delimiter, F callback, size_t max_bytes) {
  internal::CallbackReader<F>::start(*this, internal::ReadUntil{std::string(delimiter), max_bytes},
                                     std::move(callback));
}
template <class F>
requires std::is_invocable_v<F&, absl::StatusOr<std::string>>
void IOStream::read_until_close(F callback) {
  internal::CallbackReader<F>::start(*this, internal::ReadUntilClose{}, std::move(callback));
}

}  // namespace gyre

#endif  // GYRE_NET_STREAM_AWAITERS_H_
