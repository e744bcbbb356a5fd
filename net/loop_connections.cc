#include "gyre/net/loop_connections.h"

#include <vector>

#include "gyre/net/io_stream.h"

namespace gyre::internal {

void LoopConnections::add(IOStream& stream) {
  if (first_ == nullptr) self_ = shared_from_this();
  stream.connections_ = this;
  stream.previous_ = nullptr;
  stream.next_ = first_;
  if (first_ != nullptr) first_->previous_ = &stream;
  first_ = &stream;
  accepted_.fetch_add(1, std::memory_order_relaxed);
}

void LoopConnections::remove(IOStream& stream) {
  std::shared_ptr<LoopConnections> keep;
  (stream.previous_ != nullptr ? stream.previous_->next_ : first_) = stream.next_;
  if (stream.next_ != nullptr) stream.next_->previous_ = stream.previous_;
  stream.previous_ = stream.next_ = nullptr;
  if (!proxy_headers_.empty()) proxy_headers_.erase(&stream);
  if (first_ == nullptr) keep = std::move(self_);
  bytes_received_.fetch_add(stream.bytes_received(), std::memory_order_relaxed);
  bytes_sent_.fetch_add(stream.bytes_sent(), std::memory_order_relaxed);
  // Release: who sees the count sees the bytes.
  open_.fetch_sub(1, std::memory_order_release);
}

void LoopConnections::for_each(absl::FunctionRef<void(IOStream&)> visit) {
  // A copy: visit() may close streams, and a read that fails for it may open others.
  std::vector<std::shared_ptr<IOStream>> streams;
  for (IOStream* stream = first_; stream != nullptr; stream = stream->next_) {
    streams.push_back(stream->shared_from_this());
  }
  for (const std::shared_ptr<IOStream>& stream : streams) {
    if (!stream->closed()) visit(*stream);
  }
}

void LoopConnections::drop_pending() {
  while (!pending_.empty()) (*pending_.begin())->drop();
}

const ProxyHeader* LoopConnections::proxy_header(const IOStream& stream) {
  if (stream.connections_ == nullptr) return nullptr;
  const auto& headers = stream.connections_->proxy_headers_;
  const auto it = headers.find(&stream);
  return it != headers.end() ? &it->second : nullptr;
}

}  // namespace gyre::internal
