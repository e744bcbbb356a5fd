#include "gyre/examples/kv_server/outbox.h"

#include <utility>

namespace gyre::kv {
namespace {

// So much is collected before it is sent.
constexpr size_t kMostCollected = 64 * 1024;

}  // namespace

void Outbox::add(std::shared_ptr<Sender> sender) {
  parcels_.push_back({std::move(sender), replies_.size()});
  if (replies_.size() >= kMostCollected) {
    flush();
  } else if (!std::exchange(flush_is_posted_, true)) {
    loop_.add_callback([this] {
      flush_is_posted_ = false;
      flush();
    });
  }
}

void Outbox::flush() {
  size_t begin = 0;
  for (Parcel& parcel : parcels_) {
    parcel.sender->send(replies_.view().substr(begin, parcel.end - begin));
    begin = parcel.end;
  }
  parcels_.clear();
  replies_.clear();
}

}  // namespace gyre::kv
