#include "gyre/net/tcp_client.h"

#include <coroutine>
#include <utility>

#include "gyre/loop/task_root.h"
#include "gyre/net/connect_operation.h"

namespace gyre {
namespace {

using internal::ConnectOperation;
using Connected = absl::StatusOr<std::shared_ptr<IOStream>>;

// Suspends a coroutine until an operation has its result. One that is destroyed meanwhile abandons
// the operation.
class ConnectAwaiter {
 public:
  ConnectAwaiter(IOLoop& loop, std::shared_ptr<Resolver> resolver, ConnectOperation::Target target,
                 ConnectOptions options)
      : resolver_(std::move(resolver)),
        operation_(std::make_shared<ConnectOperation>(
            loop, std::move(target), std::move(options),
            [this](Connected result) { finished(std::move(result)); })) {}
  ConnectAwaiter(const ConnectAwaiter&) = delete;
  ConnectAwaiter& operator=(const ConnectAwaiter&) = delete;
  ~ConnectAwaiter() { operation_->abandon(); }

  bool await_ready() const noexcept { return false; }
  template <internal::TaskPromise P>
  void await_suspend(std::coroutine_handle<P> coroutine) {
    root_ = coroutine.promise().root;
    epoch_ = root_->suspend(coroutine);
    operation_->start(std::move(resolver_));
  }
  Connected await_resume() { return std::move(result_); }

 private:
  void finished(Connected result) {
    result_ = std::move(result);
    // Kept over the resumption: it may destroy the coroutine, and this with it.
    const std::shared_ptr<internal::TaskRoot> root = root_->shared_from_this();
    root->resume(epoch_);
  }

  std::shared_ptr<Resolver> resolver_;
  const std::shared_ptr<ConnectOperation> operation_;
  internal::TaskRoot* root_ = nullptr;
  uint64_t epoch_ = 0;
  Connected result_ = absl::UnknownError("not connected");
};

Task<Connected> run_connect(IOLoop& loop, std::shared_ptr<Resolver> resolver, std::string host,
                            uint16_t port, ConnectOptions options) {
  ConnectAwaiter awaiter(loop, std::move(resolver), {std::move(host), port}, std::move(options));
  co_return co_await awaiter;
}

}  // namespace

TCPClient::TCPClient(IOLoop& loop, std::shared_ptr<Resolver> resolver)
    : loop_(loop),
      resolver_(resolver != nullptr ? std::move(resolver) : std::make_shared<Resolver>()) {}

Task<Connected> TCPClient::connect(std::string_view host, uint16_t port, ConnectOptions options) {
  return run_connect(loop_, resolver_, std::string(host), port, std::move(options));
}

void TCPClient::connect(std::string_view host, uint16_t port, Callback done,
                        ConnectOptions options) {
  std::make_shared<ConnectOperation>(loop_, ConnectOperation::Target{std::string(host), port},
                                     std::move(options), std::move(done))
      ->start(resolver_);
}

}  // namespace gyre
