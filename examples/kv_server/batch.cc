#include "gyre/examples/kv_server/batch.h"

#include <array>
#include <charconv>

#include "gyre/examples/kv_server/command.h"
#include "gyre/examples/kv_server/shard.h"

namespace gyre::kv {
namespace {

// Of ":NUMBER\r\n".
int64_t integer_in(std::string_view reply) {
  int64_t number = 0;
  std::from_chars(reply.data() + 1, reply.data() + reply.size(), number);
  return number;
}

// Of "*1\r\nELEMENT".
std::string_view element_in(std::string_view reply) { return reply.substr(4); }

}  // namespace

void Batch::begin(const Shards& shards, size_t home) {
  shards_ = &shards;
  home_ = home;
  parts_.resize(shards.size());
}

void Batch::add(const Args& args, Session& session) {
  const Command* command = resolve(args, parts_[home_].replies());
  if (command == nullptr) {
    end_home_piece();
    steps_.push_back({Merge::kOne, 1});
  } else {
    steps_.push_back({command->merge, add_pieces(*command, args, session)});
  }
}

void Batch::add_error(std::string_view text) {
  parts_[home_].replies().error(text);
  end_home_piece();
  steps_.push_back({Merge::kOne, 1});
}

size_t Batch::add_pieces(const Command& command, const Args& args, Session& session) {
  const size_t before = order_.size();
  if (command.keys == Keys::kNone) {
    command.on_session(session, args, parts_[home_].replies());
    end_home_piece();
  } else if (command.keys == Keys::kFirst) {
    add_piece(shards_->of(args[1]), command, args);
  } else if (command.keys == Keys::kEveryShard) {
    for (size_t shard = 0; shard < parts_.size(); ++shard) add_piece(shard, command, args);
  } else {
    std::array<Span, 3> storage;
    for (size_t i = 1; i < args.size(); i += command.key_step())
      add_piece(shards_->of(args[i]), command, args.piece(i, command.key_step(), storage));
  }
  return order_.size() - before;
}

void Batch::add_piece(size_t shard, const Command& command, const Args& args) {
  if (shard == home_) {
    command.on_keys((*shards_)[home_].keys(), args, parts_[home_].replies());
    return end_home_piece();
  }
  parts_[shard].add(command, args);
  order_.push_back(static_cast<uint16_t>(shard));
}

void Batch::end_home_piece() {
  parts_[home_].end_reply();
  order_.push_back(static_cast<uint16_t>(home_));
}

void Batch::merge(Reply& replies) {
  for (const Step& step : steps_) {
    if (step.merge == Merge::kArray) {
      replies.array(step.pieces);
      for (size_t i = 0; i < step.pieces; ++i) replies.raw(element_in(next_reply()));
    } else if (step.merge == Merge::kSum) {
      int64_t sum = 0;
      for (size_t i = 0; i < step.pieces; ++i) sum += integer_in(next_reply());
      replies.integer(sum);
    } else {
      replies.raw(next_reply());
      for (size_t i = 1; i < step.pieces; ++i) next_reply();
    }
  }
}

void Batch::clear() {
  for (BatchPart& part : parts_) part.clear();
  order_.clear();
  steps_.clear();
  next_ = 0;
}

}  // namespace gyre::kv
