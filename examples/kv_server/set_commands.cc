// SADD, SPOP, SCARD, SMEMBERS.

#include <algorithm>
#include <optional>
#include <string>

#include "gyre/examples/kv_server/command.h"
#include "gyre/examples/kv_server/words.h"

namespace gyre::kv {
namespace {

void sadd(Keyspace& keys, const Args& args, Reply& reply) {
  auto* set = keys.find_or_create<IndexedSet>(args[1]);
  if (set == nullptr) return reply.wrong_type();
  int64_t added = 0;
  for (size_t i = 2; i < args.size(); ++i) added += set->insert(args[i]);
  reply.integer(added);
}

// With a count: an array, else the member.
void spop(Keyspace& keys, const Args& args, Reply& reply) {
  const bool counted = args.size() > 2;
  if (args.size() > 3) return reply.syntax_error();
  const std::optional<size_t> count = counted ? parse_count(args[2]) : size_t{1};
  if (!count) return reply.not_a_count();
  const auto set = keys.find<IndexedSet>(args[1]);
  if (set.wrong_type) return reply.wrong_type();
  if (set.value == nullptr) return counted ? reply.array(0) : reply.null();
  const size_t taken = std::min(*count, set.value->size());
  if (counted) reply.array(taken);
  for (size_t i = 0; i < taken; ++i)
    reply.bulk(set.value->take(keys.random_below(set.value->size())));
  if (set.value->size() == 0) keys.erase(args[1]);
}

void scard(Keyspace& keys, const Args& args, Reply& reply) {
  const auto set = keys.find<IndexedSet>(args[1]);
  if (set.wrong_type) return reply.wrong_type();
  reply.integer(set.value != nullptr ? set.value->size() : 0);
}

void smembers(Keyspace& keys, const Args& args, Reply& reply) {
  const auto set = keys.find<IndexedSet>(args[1]);
  if (set.wrong_type) return reply.wrong_type();
  if (set.value == nullptr) return reply.array(0);
  reply.array(set.value->size());
  for (const std::string& member : set.value->members()) reply.bulk(member);
}

constexpr Command kCommands[] = {
    {.name = "sadd", .arity = -3, .keys = Keys::kFirst, .on_keys = sadd},
    {.name = "spop", .arity = -2, .keys = Keys::kFirst, .on_keys = spop},
    {.name = "scard", .arity = 2, .keys = Keys::kFirst, .on_keys = scard},
    {.name = "smembers", .arity = 2, .keys = Keys::kFirst, .on_keys = smembers},
};

}  // namespace

std::span<const Command> set_commands() { return kCommands; }

}  // namespace gyre::kv
