// What a stream is at, for a person.

#include "absl/strings/str_format.h"
#include "gyre/net/io_stream.h"
#include "gyre/net/stream_extra.h"

namespace gyre {
namespace {

std::string name_of(const internal::ReadRequest& request) {
  struct Visitor {
    std::string operator()(const internal::ReadBytes& r) const {
      return absl::StrFormat("read_bytes(%d)", r.count);
    }
    std::string operator()(const internal::ReadInto& r) const {
      return absl::StrFormat("read_into, %d of %d bytes", r.filled, r.size);
    }
    std::string operator()(const internal::ReadUntil&) const { return "read_until"; }
    std::string operator()(const internal::ReadUntilMatch&) const { return "read_until"; }
    std::string operator()(const internal::ReadUntilClose&) const { return "read_until_close"; }
    std::string operator()(const internal::ReadRefused&) const { return "a refused read"; }
  };
  return std::visit(Visitor(), request);
}

}  // namespace

std::string IOStream::describe() const {
  std::string text = "a stream: ";
  if (has_request()) {
    text += "waits in " + name_of(extra_->waiter->request);
  } else if (read_callback_) {
    text += paused_ ? "reading is paused" : "has a read callback";
  } else {
    text += "nobody reads";
  }
  text += absl::StrFormat(", %d bytes received and %d sent", bytes_received_, bytes_sent());
  if (has_input()) text += absl::StrFormat(", %d not taken yet", extra_->input.size());
  if (has_output()) text += absl::StrFormat(", %d wait to be sent", extra_->output.total());
  if (answering_) text += ", has a request to answer";
  if (extra_ != nullptr && extra_->busy_holds > 0)
    text += absl::StrFormat(", kept busy by %d", extra_->busy_holds);
  if (input_ended_) text += ", the peer has ended";
  if (closes_when_idle_ && !flushing_) text += ", closes when idle";
  if (lingering_) {
    text += ", waits for the peer's end";
  } else if (flushing_) {
    text += ", closes once all is sent";
  }
  return text;
}

}  // namespace gyre
