#include "gyre/examples/kv_server/batch_part.h"

#include <span>

namespace gyre::kv {

void BatchPart::add(const Command& command, const Args& args) {
  requests_.push_back({&command, args.size()});
  for (size_t i = 0; i < args.size(); ++i) {
    spans_.push_back({static_cast<uint32_t>(bytes_.size()), static_cast<uint32_t>(args[i].size())});
    bytes_.append(args[i]);
  }
}

void BatchPart::run(Keyspace& keys) {
  std::span<const Span> spans = spans_;
  for (const Request& request : requests_) {
    const Args args(bytes_.data(), spans.first(request.arguments));
    request.command->on_keys(keys, args, replies_);
    end_reply();
    spans = spans.subspan(request.arguments);
  }
}

std::string_view BatchPart::next_reply() {
  const size_t begin = taken_ == 0 ? 0 : ends_[taken_ - 1];
  const size_t end = ends_[taken_++];
  return replies_.view().substr(begin, end - begin);
}

void BatchPart::clear() {
  constexpr size_t kMostKept = 64 * 1024;
  requests_.clear();
  spans_.clear();
  ends_.clear();
  replies_.clear();
  taken_ = 0;
  bytes_.clear();
  if (bytes_.capacity() > kMostKept) bytes_ = std::string();
}

}  // namespace gyre::kv
