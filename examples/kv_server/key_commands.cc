// DEL, EXISTS, TYPE, EXPIRE, TTL and their kin, DBSIZE, FLUSHALL: keys, whatever they hold.

#include <chrono>
#include <optional>

#include "gyre/examples/kv_server/command.h"
#include "gyre/examples/kv_server/words.h"

namespace gyre::kv {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

void del(Keyspace& keys, const Args& args, Reply& reply) {
  int64_t erased = 0;
  for (size_t i = 1; i < args.size(); ++i) erased += keys.erase(args[i]);
  reply.integer(erased);
}

void exists(Keyspace& keys, const Args& args, Reply& reply) {
  int64_t found = 0;
  for (size_t i = 1; i < args.size(); ++i) found += keys.find(args[i]) != nullptr;
  reply.integer(found);
}

void type(Keyspace& keys, const Args& args, Reply& reply) {
  constexpr std::string_view kNames[] = {"string", "list", "set", "hash", "zset"};
  static_assert(std::size(kNames) == std::variant_size_v<Value>);
  const Keyspace::Entry* entry = keys.find(args[1]);
  reply.status(entry != nullptr ? kNames[entry->value.index()] : "none");
}

template <class Unit>
void expire(Keyspace& keys, const Args& args, Reply& reply) {
  const std::optional<milliseconds> lives_for = parse_duration(args[2], Unit(1));
  if (!lives_for) {
    return parse_integer(args[2]) ? reply.invalid_expiry() : reply.not_an_integer();
  }
  if (keys.find(args[1]) == nullptr) return reply.integer(0);
  if (*lives_for > milliseconds::zero()) {
    keys.set_expiry(args[1], keys.after(*lives_for));
  } else {
    keys.erase(args[1]);
  }
  reply.integer(1);
}

// Rounded. -1: it never expires; -2: there is no such key.
template <class Unit>
void time_to_live(Keyspace& keys, const Args& args, Reply& reply) {
  const Keyspace::Entry* entry = keys.find(args[1]);
  if (entry == nullptr) return reply.integer(-2);
  if (entry->expires == Keyspace::kNever) return reply.integer(-1);
  const milliseconds half = milliseconds(Unit(1)) / 2;
  reply.integer(std::chrono::floor<Unit>(keys.until(entry->expires) + half).count());
}

void persist(Keyspace& keys, const Args& args, Reply& reply) {
  const Keyspace::Entry* entry = keys.find(args[1]);
  const bool expires = entry != nullptr && entry->expires != Keyspace::kNever;
  if (expires) keys.set_expiry(args[1], Keyspace::kNever);
  reply.integer(expires);
}

void dbsize(Keyspace& keys, const Args&, Reply& reply) { reply.integer(keys.size()); }

// With ASYNC or SYNC, which are the same here.
void flush(Keyspace& keys, const Args&, Reply& reply) {
  keys.clear();
  reply.ok();
}

constexpr Command kCommands[] = {
    {.name = "del", .arity = -2, .keys = Keys::kEach, .on_keys = del, .merge = Merge::kSum},
    {.name = "unlink", .arity = -2, .keys = Keys::kEach, .on_keys = del, .merge = Merge::kSum},
    {.name = "exists", .arity = -2, .keys = Keys::kEach, .on_keys = exists, .merge = Merge::kSum},
    {.name = "type", .arity = 2, .keys = Keys::kFirst, .on_keys = type},
    {.name = "expire", .arity = 3, .keys = Keys::kFirst, .on_keys = expire<seconds>},
    {.name = "pexpire", .arity = 3, .keys = Keys::kFirst, .on_keys = expire<milliseconds>},
    {.name = "ttl", .arity = 2, .keys = Keys::kFirst, .on_keys = time_to_live<seconds>},
    {.name = "pttl", .arity = 2, .keys = Keys::kFirst, .on_keys = time_to_live<milliseconds>},
    {.name = "persist", .arity = 2, .keys = Keys::kFirst, .on_keys = persist},
    {.name = "dbsize",
     .arity = 1,
     .keys = Keys::kEveryShard,
     .on_keys = dbsize,
     .merge = Merge::kSum},
    {.name = "flushall", .arity = -1, .keys = Keys::kEveryShard, .on_keys = flush},
    {.name = "flushdb", .arity = -1, .keys = Keys::kEveryShard, .on_keys = flush},
};

}  // namespace

std::span<const Command> key_commands() { return kCommands; }

}  // namespace gyre::kv
