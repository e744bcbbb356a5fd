// HSET, HGET, HDEL, HLEN, HGETALL.

#include <string>

#include "gyre/examples/kv_server/command.h"

namespace gyre::kv {
namespace {

void hset(Keyspace& keys, const Args& args, Reply& reply) {
  if (args.size() % 2 != 0) return reply.error("ERR wrong number of arguments for 'hset'");
  Hash* hash = keys.find_or_create<Hash>(args[1]);
  if (hash == nullptr) return reply.wrong_type();
  int64_t added = 0;
  for (size_t i = 2; i < args.size(); i += 2) {
    const auto [field, is_new] = hash->try_emplace(args[i]);
    field->second = args[i + 1];
    added += is_new;
  }
  reply.integer(added);
}

void hget(Keyspace& keys, const Args& args, Reply& reply) {
  const auto hash = keys.find<Hash>(args[1]);
  if (hash.wrong_type) return reply.wrong_type();
  if (hash.value == nullptr) return reply.null();
  const auto field = hash.value->find(args[2]);
  if (field == hash.value->end()) return reply.null();
  reply.bulk(field->second);
}

void hdel(Keyspace& keys, const Args& args, Reply& reply) {
  const auto hash = keys.find<Hash>(args[1]);
  if (hash.wrong_type) return reply.wrong_type();
  if (hash.value == nullptr) return reply.integer(0);
  int64_t erased = 0;
  for (size_t i = 2; i < args.size(); ++i) erased += hash.value->erase(args[i]);
  if (hash.value->empty()) keys.erase(args[1]);
  reply.integer(erased);
}

void hlen(Keyspace& keys, const Args& args, Reply& reply) {
  const auto hash = keys.find<Hash>(args[1]);
  if (hash.wrong_type) return reply.wrong_type();
  reply.integer(hash.value != nullptr ? hash.value->size() : 0);
}

void hgetall(Keyspace& keys, const Args& args, Reply& reply) {
  const auto hash = keys.find<Hash>(args[1]);
  if (hash.wrong_type) return reply.wrong_type();
  if (hash.value == nullptr) return reply.array(0);
  reply.array(2 * hash.value->size());
  for (const auto& [field, value] : *hash.value) {
    reply.bulk(field);
    reply.bulk(value);
  }
}

constexpr Command kCommands[] = {
    {.name = "hset", .arity = -4, .keys = Keys::kFirst, .on_keys = hset},
    {.name = "hget", .arity = 3, .keys = Keys::kFirst, .on_keys = hget},
    {.name = "hdel", .arity = -3, .keys = Keys::kFirst, .on_keys = hdel},
    {.name = "hlen", .arity = 2, .keys = Keys::kFirst, .on_keys = hlen},
    {.name = "hgetall", .arity = 2, .keys = Keys::kFirst, .on_keys = hgetall},
};

}  // namespace

std::span<const Command> hash_commands() { return kCommands; }

}  // namespace gyre::kv
