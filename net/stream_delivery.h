#ifndef GYRE_NET_STREAM_DELIVERY_H_
#define GYRE_NET_STREAM_DELIVERY_H_

#include "absl/status/status.h"
#include "gyre/net/io_stream.h"

namespace gyre {

// While a callback of a stream is on the stack; one at a time on a loop. Sends what it wrote when
// it is done; if it throws, the stream closes.
class IOStream::Delivery {
 public:
  explicit Delivery(IOStream& stream) : stream_(stream) { stream_.delivering_ = true; }
  Delivery(const Delivery&) = delete;
  Delivery& operator=(const Delivery&) = delete;
  ~Delivery() {
    stream_.delivering_ = false;
    if (!stream_.context_->corked.empty()) stream_.send_corked();
    if (!finished_) [[unlikely]]
      stream_.close(absl::InternalError("a callback of the stream threw an exception"));
    if (stream_.write_ended_) [[unlikely]]
      stream_.finish_output();
  }
  void finish() { finished_ = true; }

 private:
  IOStream& stream_;
  bool finished_ = false;
};

}  // namespace gyre

#endif  // GYRE_NET_STREAM_DELIVERY_H_
