#ifndef GYRE_NET_STREAM_AWAITERS_H_
#define GYRE_NET_STREAM_AWAITERS_H_

// What the read_* and write of an IOStream give. Included by io_stream.h.

#include "gyre/loop/cxx20.h"  // before all else

#include <coroutine>
#include <memory>
#include <string>
#include <utility>

#include "absl/functional/function_ref.h"
#include "gyre/loop/callback_node.h"
#include "gyre/net/io_stream.h"

namespace gyre::internal {

// Who is told how a read ended: a coroutine, or a callback.
class ReadWaiter {
 public:
  explicit ReadWaiter(ReadRequest request) : request(std::move(request)) {}

  ReadRequest request;
  // The bytes lie in a buffer of the stream's, or of the waiter's own.
  virtual void answer(absl::Status status, std::string_view bytes) = 0;
  // The answer was given in an event: go on.
  virtual void wake() = 0;
  // The stream's loop is gone: there will be no answer.
  virtual void dropped() = 0;

 protected:
  ~ReadWaiter() = default;
};

// Puts an answer into `result`, which is OK so far.
template <class T>
void set_read_result(absl::StatusOr<T>& result, absl::Status status, std::string_view bytes) {
  if (!status.ok()) {
    result = std::move(status);
  } else if constexpr (std::is_same_v<T, size_t>) {
    *result = bytes.size();
  } else {
    result->assign(bytes);
  }
}

struct StreamAccess {
  // Busy until it is asked to read, or the coroutine that answers has ended.
  static void answers_first(IOStream& stream) { stream.set_answering(true); }
  static void answered(IOStream& stream) { stream.set_answering(false); }
  static bool request(IOStream& stream, ReadWaiter& waiter) { return stream.request(waiter); }
  // Calls a callback of the stream: what it writes is sent together, and if it throws the stream
  // closes.
  static void deliver(IOStream& stream, absl::FunctionRef<void()> callback);
};

// Lives in the coroutine that answers on a stream: made on the stream's loop, destroyed on
// whichever loop the coroutine ends, or by whoever closes that loop. Then the stream is not busy
// any more, and it is closed unless finish() was called.
class Answering {
 public:
  explicit Answering(std::shared_ptr<IOStream> stream);
  Answering(const Answering&) = delete;
  Answering& operator=(const Answering&) = delete;
  ~Answering();
  void finish() { finished_ = true; }

 private:
  // Not the stream's loop, which may be gone by then.
  const std::shared_ptr<CallbackQueue> queue_;
  std::shared_ptr<IOStream> stream_;
  bool finished_ = false;
};

// co_await gives an absl::StatusOr<T>. The stream has to live until it is awaited; from then on it
// is kept.
template <class T>
class [[nodiscard]] ReadAwaiter final : private ReadWaiter {
 public:
  ReadAwaiter(IOStream& stream, ReadRequest request)
      : ReadWaiter(std::move(request)), stream_(&stream) {}
  ReadAwaiter(const ReadAwaiter&) = delete;
  ReadAwaiter& operator=(const ReadAwaiter&) = delete;
  ~ReadAwaiter() {
    if (root_ != nullptr) stream_->cancel_request(*this);
  }

  bool await_ready() const noexcept { return false; }
  template <TaskPromise P>
  bool await_suspend(std::coroutine_handle<P> coroutine) {
    if (stream_->request(*this)) return false;
    root_ = coroutine.promise().root;
    epoch_ = root_->suspend(coroutine);
    return true;
  }
  absl::StatusOr<T> await_resume() { return std::move(result_); }

 private:
  void answer(absl::Status status, std::string_view bytes) override {
    set_read_result(result_, std::move(status), bytes);
  }
  // May destroy the coroutine, and this with it. (A root that runs keeps itself.)
  void wake() override { std::exchange(root_, nullptr)->resume(epoch_); }
  void dropped() override { root_ = nullptr; }

  // While it waits: an open stream is kept by its loop, a closed one by what is to tell the waiter.
  IOStream* const stream_;
  TaskRoot* root_ = nullptr;  // while it waits
  uint64_t epoch_ = 0;
  absl::StatusOr<T> result_ = T();
};

// co_await gives an absl::Status. May be dropped: the bytes are on their way all the same.
class WriteAwaiter final {
 public:
  WriteAwaiter(IOStream& stream, absl::Status refused)
      : stream_(&stream), target_(stream.bytes_submitted_), refused_(std::move(refused)) {}
  WriteAwaiter(const WriteAwaiter&) = delete;
  WriteAwaiter& operator=(const WriteAwaiter&) = delete;
  ~WriteAwaiter() {
    if (root_ != nullptr) unlink();
  }

  // False: nothing of the bytes was taken, for the reason that co_await gives.
  bool accepted() const { return refused_.ok(); }

  bool await_ready();
  template <TaskPromise P>
  void await_suspend(std::coroutine_handle<P> coroutine) {
    root_ = coroutine.promise().root;
    epoch_ = root_->suspend(coroutine);
    link();
  }
  absl::Status await_resume();

 private:
  friend class gyre::IOStream;

  bool sent() const { return stream_->bytes_sent() >= target_; }
  void link();
  void unlink();
  void wake() {
    unlink();
    std::exchange(root_, nullptr)->resume(epoch_);
  }
  void drop() {
    unlink();
    root_ = nullptr;
  }

  IOStream* const stream_;
  const uint64_t target_;  // sent once the stream has sent so many bytes
  absl::Status refused_;
  TaskRoot* root_ = nullptr;  // while it waits
  uint64_t epoch_ = 0;
  WriteAwaiter* previous_ = nullptr;
  WriteAwaiter* next_ = nullptr;
};

// A read with a callback. On the heap; deletes itself once it is told.
template <class T, class F>
class CallbackReader final : private ReadWaiter {
 public:
  static void start(IOStream& stream, ReadRequest request, F callback) {
    std::unique_ptr<CallbackReader> reader(
        new CallbackReader(std::move(request), std::move(callback)));
    if (!StreamAccess::request(stream, *reader)) {
      static_cast<void>(reader.release());
      return;
    }
    // Never inside the call that asked.
    stream.loop().add_callback([stream = stream.shared_from_this(), reader = std::move(reader)] {
      StreamAccess::deliver(*stream, [&] { reader->callback_(std::move(reader->result_)); });
    });
  }

 private:
  CallbackReader(ReadRequest request, F callback)
      : ReadWaiter(std::move(request)), callback_(std::move(callback)) {}

  void answer(absl::Status status, std::string_view bytes) override {
    set_read_result(result_, std::move(status), bytes);
  }
  void wake() override {
    const std::unique_ptr<CallbackReader> owned(this);
    callback_(std::move(result_));
  }
  void dropped() override { delete this; }

  F callback_;
  absl::StatusOr<T> result_ = T();
};

template <class P>
ReadRequest make_read_until(P predicate, size_t max_bytes) {
  if (!is_null_callable(predicate)) return ReadUntilMatch{std::move(predicate), max_bytes};
  return ReadRefused{absl::InvalidArgumentError("read_until: the predicate is null")};
}

}  // namespace gyre::internal

namespace gyre {

inline internal::ReadAwaiter<std::string> IOStream::read_bytes(size_t count, bool partial) {
  return {*this, internal::ReadBytes{count, partial}};
}
inline internal::ReadAwaiter<size_t> IOStream::read_into(std::span<char> buffer, bool partial) {
  return {*this, internal::ReadInto{buffer.data(), buffer.size(), partial}};
}
inline internal::ReadAwaiter<std::string> IOStream::read_until(std::string_view delimiter,
                                                               size_t max_bytes) {
  return {*this, internal::ReadUntil{std::string(delimiter), max_bytes}};
}
template <internal::ReadPredicate P>
internal::ReadAwaiter<std::string> IOStream::read_until(P predicate, size_t max_bytes) {
  return {*this, internal::make_read_until(std::move(predicate), max_bytes)};
}
inline internal::ReadAwaiter<std::string> IOStream::read_until_close() {
  return {*this, internal::ReadUntilClose{}};
}

template <internal::ReadCallbackFor<std::string> F>
void IOStream::read_bytes(size_t count, F callback, bool partial) {
  internal::CallbackReader<std::string, F>::start(*this, internal::ReadBytes{count, partial},
                                                  std::move(callback));
}
template <internal::ReadCallbackFor<size_t> F>
void IOStream::read_into(std::span<char> buffer, F callback, bool partial) {
  internal::CallbackReader<size_t, F>::start(
      *this, internal::ReadInto{buffer.data(), buffer.size(), partial}, std::move(callback));
}
template <internal::ReadCallbackFor<std::string> F>
void IOStream::read_until(std::string_view delimiter, F callback, size_t max_bytes) {
  internal::CallbackReader<std::string, F>::start(
      *this, internal::ReadUntil{std::string(delimiter), max_bytes}, std::move(callback));
}
template <internal::ReadPredicate P, internal::ReadCallbackFor<std::string> F>
void IOStream::read_until(P predicate, F callback, size_t max_bytes) {
  internal::CallbackReader<std::string, F>::start(
      *this, internal::make_read_until(std::move(predicate), max_bytes), std::move(callback));
}
template <internal::ReadCallbackFor<std::string> F>
void IOStream::read_until_close(F callback) {
  internal::CallbackReader<std::string, F>::start(*this, internal::ReadUntilClose{},
                                                  std::move(callback));
}

inline internal::WriteAwaiter IOStream::write(std::string_view bytes) {
  absl::Status refused = submit(bytes);
  return {*this, std::move(refused)};
}
inline internal::WriteAwaiter IOStream::write(std::span<const std::string_view> pieces) {
  absl::Status refused = submit(pieces);
  return {*this, std::move(refused)};
}
inline internal::WriteAwaiter IOStream::write(SharedBytes bytes) {
  absl::Status refused = submit(std::move(bytes));
  return {*this, std::move(refused)};
}
inline internal::WriteAwaiter IOStream::sendfile(SharedFile file, uint64_t offset,
                                                 uint64_t length) {
  absl::Status refused = submit(std::move(file), offset, length);
  return {*this, std::move(refused)};
}
inline internal::WriteAwaiter IOStream::sendfile(UniqueFd file, uint64_t offset, uint64_t length) {
  return sendfile(std::make_shared<const UniqueFd>(std::move(file)), offset, length);
}

}  // namespace gyre

#endif  // GYRE_NET_STREAM_AWAITERS_H_
