// SET with its options, SETEX, PSETEX, SETNX.

#include <chrono>
#include <optional>
#include <string>

#include "gyre/examples/kv_server/command.h"
#include "gyre/examples/kv_server/words.h"

namespace gyre::kv {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

struct SetOptions {
  bool only_new = false;                                 // NX
  bool only_existing = false;                            // XX
  bool keeps_expiry = false;                             // KEEPTTL
  bool gives_old = false;                                // GET
  std::optional<milliseconds> lives_for = std::nullopt;  // EX, PX
};

bool is_positive(const std::optional<milliseconds>& duration) {
  return duration.has_value() && *duration > milliseconds::zero();
}

// False: the error is in `reply`.
bool parse_options(const Args& args, SetOptions& options, Reply& reply) {
  for (size_t i = 3; i < args.size(); ++i) {
    const bool seconds_given = is_word(args[i], "ex");
    if (seconds_given || is_word(args[i], "px")) {
      if (options.lives_for || ++i == args.size()) return reply.syntax_error(), false;
      options.lives_for = parse_duration(args[i], seconds_given ? seconds(1) : milliseconds(1));
      if (!parse_integer(args[i])) return reply.not_an_integer(), false;
      if (!is_positive(options.lives_for)) return reply.invalid_expiry(), false;
    } else if (is_word(args[i], "nx")) {
      options.only_new = true;
    } else if (is_word(args[i], "xx")) {
      options.only_existing = true;
    } else if (is_word(args[i], "keepttl")) {
      options.keeps_expiry = true;
    } else if (is_word(args[i], "get")) {
      options.gives_old = true;
    } else {
      return reply.syntax_error(), false;
    }
  }
  const bool contradicts = (options.only_new && options.only_existing) ||
                           (options.keeps_expiry && options.lives_for.has_value());
  if (contradicts) reply.syntax_error();
  return !contradicts;
}

void set_with(const SetOptions& options, Keyspace& keys, const Args& args, Reply& reply) {
  Keyspace::Entry* const old = keys.find(args[1]);
  if (options.gives_old) {
    const std::string* value = old != nullptr ? value_as<std::string>(old->value) : nullptr;
    if (old != nullptr && value == nullptr) return reply.wrong_type();
    value != nullptr ? reply.bulk(*value) : reply.null();
  }
  if (old != nullptr ? options.only_new : options.only_existing) {
    if (!options.gives_old) reply.null();
    return;
  }
  const Keyspace::Time kept =
      options.keeps_expiry && old != nullptr ? old->expires : Keyspace::kNever;
  keys.set_string(args[1], args[2], options.lives_for ? keys.after(*options.lives_for) : kept);
  if (!options.gives_old) reply.ok();
}

void set(Keyspace& keys, const Args& args, Reply& reply) {
  if (args.size() == 3) [[likely]] {
    keys.set_string(args[1], args[2]);
    return reply.ok();
  }
  SetOptions options;
  if (parse_options(args, options, reply)) set_with(options, keys, args, reply);
}

template <class Unit>
void set_for(Keyspace& keys, const Args& args, Reply& reply) {
  const std::optional<milliseconds> lives_for = parse_duration(args[2], Unit(1));
  if (!parse_integer(args[2])) return reply.not_an_integer();
  if (!is_positive(lives_for)) return reply.invalid_expiry();
  keys.set_string(args[1], args[3], keys.after(*lives_for));
  reply.ok();
}

void setnx(Keyspace& keys, const Args& args, Reply& reply) {
  const bool is_new = keys.find(args[1]) == nullptr;
  if (is_new) keys.set_string(args[1], args[2]);
  reply.integer(is_new);
}

constexpr Command kCommands[] = {
    {.name = "set", .arity = -3, .keys = Keys::kFirst, .on_keys = set},
    {.name = "setex", .arity = 4, .keys = Keys::kFirst, .on_keys = set_for<seconds>},
    {.name = "psetex", .arity = 4, .keys = Keys::kFirst, .on_keys = set_for<milliseconds>},
    {.name = "setnx", .arity = 3, .keys = Keys::kFirst, .on_keys = setnx},
};

}  // namespace

std::span<const Command> set_command() { return kCommands; }

}  // namespace gyre::kv
