// INCR, DECR, INCRBY, DECRBY: strings that are numbers.

#include <charconv>
#include <optional>
#include <string>

#include "gyre/examples/kv_server/command.h"
#include "gyre/examples/kv_server/words.h"

namespace gyre::kv {
namespace {

void add(Keyspace& keys, std::string_view key, int64_t amount, Reply& reply) {
  const auto found = keys.find<std::string>(key);
  if (found.wrong_type) return reply.wrong_type();
  const std::optional<int64_t> number =
      found.value != nullptr ? parse_integer(*found.value) : int64_t{0};
  if (!number) return reply.not_an_integer();
  int64_t sum;
  if (__builtin_add_overflow(*number, amount, &sum))
    return reply.error("ERR the number would overflow");
  char text[24];
  const std::string_view digits(text, std::to_chars(text, text + sizeof(text), sum).ptr - text);
  // When the key expires stays as it is.
  if (found.value != nullptr) {
    found.value->assign(digits);
  } else {
    keys.set_string(key, digits);
  }
  reply.integer(sum);
}

template <int64_t kAmount>
void step(Keyspace& keys, const Args& args, Reply& reply) {
  add(keys, args[1], kAmount, reply);
}

void incrby(Keyspace& keys, const Args& args, Reply& reply) {
  const std::optional<int64_t> amount = parse_integer(args[2]);
  if (!amount) return reply.not_an_integer();
  add(keys, args[1], *amount, reply);
}

void decrby(Keyspace& keys, const Args& args, Reply& reply) {
  const std::optional<int64_t> amount = parse_integer(args[2]);
  int64_t negated;
  // The lowest number has no opposite.
  if (!amount || __builtin_sub_overflow(int64_t{0}, *amount, &negated))
    return reply.not_an_integer();
  add(keys, args[1], negated, reply);
}

constexpr Command kCommands[] = {
    {.name = "incr", .arity = 2, .keys = Keys::kFirst, .on_keys = step<1>},
    {.name = "decr", .arity = 2, .keys = Keys::kFirst, .on_keys = step<-1>},
    {.name = "incrby", .arity = 3, .keys = Keys::kFirst, .on_keys = incrby},
    {.name = "decrby", .arity = 3, .keys = Keys::kFirst, .on_keys = decrby},
};

}  // namespace

std::span<const Command> counter_commands() { return kCommands; }

}  // namespace gyre::kv
