// GET, APPEND, STRLEN, MGET, MSET: values that are strings of bytes.

#include <string>

#include "gyre/examples/kv_server/command.h"

namespace gyre::kv {
namespace {

constexpr size_t kLongestString = 512 * 1024 * 1024;

void get(Keyspace& keys, const Args& args, Reply& reply) {
  const auto found = keys.find<std::string>(args[1]);
  if (found.wrong_type) return reply.wrong_type();
  if (found.value == nullptr) return reply.null();
  reply.bulk(*found.value);
}

void append(Keyspace& keys, const Args& args, Reply& reply) {
  auto* value = keys.find_or_create<std::string>(args[1]);
  if (value == nullptr) return reply.wrong_type();
  if (value->size() + args[2].size() > kLongestString)
    return reply.error("ERR the string would be longer than 512 MiB");
  value->append(args[2]);
  reply.integer(value->size());
}

void strlen(Keyspace& keys, const Args& args, Reply& reply) {
  const auto found = keys.find<std::string>(args[1]);
  if (found.wrong_type) return reply.wrong_type();
  reply.integer(found.value != nullptr ? found.value->size() : 0);
}

// A key with another kind of value counts as none: one of them does not spoil the answer.
void mget(Keyspace& keys, const Args& args, Reply& reply) {
  reply.array(args.size() - 1);
  for (size_t i = 1; i < args.size(); ++i) {
    const auto found = keys.find<std::string>(args[i]);
    if (found.value != nullptr) {
      reply.bulk(*found.value);
    } else {
      reply.null();
    }
  }
}

void mset(Keyspace& keys, const Args& args, Reply& reply) {
  for (size_t i = 1; i + 1 < args.size(); i += 2) keys.set_string(args[i], args[i + 1]);
  reply.ok();
}

constexpr Command kCommands[] = {
    {.name = "get", .arity = 2, .keys = Keys::kFirst, .on_keys = get},
    {.name = "append", .arity = 3, .keys = Keys::kFirst, .on_keys = append},
    {.name = "strlen", .arity = 2, .keys = Keys::kFirst, .on_keys = strlen},
    {.name = "mget", .arity = -2, .keys = Keys::kEach, .on_keys = mget, .merge = Merge::kArray},
    {.name = "mset", .arity = -3, .keys = Keys::kPairs, .on_keys = mset},
};

}  // namespace

std::span<const Command> string_commands() { return kCommands; }

}  // namespace gyre::kv
