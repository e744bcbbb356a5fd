// ZADD, ZPOPMIN, ZCARD, ZSCORE.

#include <algorithm>
#include <optional>
#include <string>

#include "gyre/examples/kv_server/command.h"
#include "gyre/examples/kv_server/words.h"

namespace gyre::kv {
namespace {

struct AddOptions {
  bool only_new = false;        // NX
  bool only_existing = false;   // XX
  bool counts_changed = false;  // CH
};

// Takes the options behind the key; gives the place of the first score.
size_t parse_options(const Args& args, AddOptions& options) {
  size_t i = 2;
  for (; i < args.size(); ++i) {
    if (is_word(args[i], "nx")) {
      options.only_new = true;
    } else if (is_word(args[i], "xx")) {
      options.only_existing = true;
    } else if (is_word(args[i], "ch")) {
      options.counts_changed = true;
    } else {
      break;
    }
  }
  return i;
}

// What the reply counts of one member.
bool add(SortedSet& set, std::string_view member, double score, const AddOptions& options) {
  const std::optional<double> old = set.score(member);
  if (old ? options.only_new : options.only_existing) return false;
  set.set(member, score);
  return !old || (options.counts_changed && *old != score);
}

// Every score is looked at before anything changes.
bool scores_are_numbers(const Args& args, size_t first) {
  for (size_t i = first; i < args.size(); i += 2) {
    if (!parse_double(args[i])) return false;
  }
  return true;
}

void zadd(Keyspace& keys, const Args& args, Reply& reply) {
  AddOptions options;
  const size_t first = parse_options(args, options);
  if (first == args.size() || (args.size() - first) % 2 != 0) return reply.syntax_error();
  if (options.only_new && options.only_existing) return reply.syntax_error();
  if (!scores_are_numbers(args, first)) return reply.error("ERR a score is not a valid float");
  // XX makes no key.
  if (options.only_existing && keys.find(args[1]) == nullptr) return reply.integer(0);
  auto* set = keys.find_or_create<SortedSet>(args[1]);
  if (set == nullptr) return reply.wrong_type();
  int64_t counted = 0;
  for (size_t i = first; i < args.size(); i += 2)
    counted += add(*set, args[i + 1], *parse_double(args[i]), options);
  reply.integer(counted);
}

void zpopmin(Keyspace& keys, const Args& args, Reply& reply) {
  if (args.size() > 3) return reply.syntax_error();
  const std::optional<size_t> count = args.size() > 2 ? parse_count(args[2]) : size_t{1};
  if (!count) return reply.not_a_count();
  const auto set = keys.find<SortedSet>(args[1]);
  if (set.wrong_type) return reply.wrong_type();
  if (set.value == nullptr) return reply.array(0);
  const size_t taken = std::min(*count, set.value->size());
  reply.array(2 * taken);
  for (size_t i = 0; i < taken; ++i) {
    const auto& [member, score] = set.value->lowest();
    reply.bulk(member);
    reply.bulk(score);
    set.value->erase_lowest();
  }
  if (set.value->size() == 0) keys.erase(args[1]);
}

void zcard(Keyspace& keys, const Args& args, Reply& reply) {
  const auto set = keys.find<SortedSet>(args[1]);
  if (set.wrong_type) return reply.wrong_type();
  reply.integer(set.value != nullptr ? set.value->size() : 0);
}

void zscore(Keyspace& keys, const Args& args, Reply& reply) {
  const auto set = keys.find<SortedSet>(args[1]);
  if (set.wrong_type) return reply.wrong_type();
  const std::optional<double> score =
      set.value != nullptr ? set.value->score(args[2]) : std::nullopt;
  score.has_value() ? reply.bulk(*score) : reply.null();
}

constexpr Command kCommands[] = {
    {.name = "zadd", .arity = -4, .keys = Keys::kFirst, .on_keys = zadd},
    {.name = "zpopmin", .arity = -2, .keys = Keys::kFirst, .on_keys = zpopmin},
    {.name = "zcard", .arity = 2, .keys = Keys::kFirst, .on_keys = zcard},
    {.name = "zscore", .arity = 3, .keys = Keys::kFirst, .on_keys = zscore},
};

}  // namespace

std::span<const Command> sorted_set_commands() { return kCommands; }

}  // namespace gyre::kv
