// LPUSH, RPUSH, LPOP, RPOP, LLEN, LRANGE.

#include <algorithm>
#include <optional>
#include <string>

#include "gyre/examples/kv_server/command.h"
#include "gyre/examples/kv_server/words.h"

namespace gyre::kv {
namespace {

enum class End { kLeft, kRight };

template <End kEnd>
void push(Keyspace& keys, const Args& args, Reply& reply) {
  List* list = keys.find_or_create<List>(args[1]);
  if (list == nullptr) return reply.wrong_type();
  for (size_t i = 2; i < args.size(); ++i) {
    if constexpr (kEnd == End::kLeft) {
      list->emplace_front(args[i]);
    } else {
      list->emplace_back(args[i]);
    }
  }
  reply.integer(list->size());
}

template <End kEnd>
void pop_one(List& list, Reply& reply) {
  if constexpr (kEnd == End::kLeft) {
    reply.bulk(list.front());
    list.pop_front();
  } else {
    reply.bulk(list.back());
    list.pop_back();
  }
}

// With a count: an array, else the element.
template <End kEnd>
void pop(Keyspace& keys, const Args& args, Reply& reply) {
  const bool counted = args.size() > 2;
  if (args.size() > 3) return reply.syntax_error();
  const std::optional<size_t> count = counted ? parse_count(args[2]) : size_t{1};
  if (!count) return reply.not_a_count();
  const auto list = keys.find<List>(args[1]);
  if (list.wrong_type) return reply.wrong_type();
  if (list.value == nullptr) return counted ? reply.null_array() : reply.null();
  const size_t taken = std::min(*count, list.value->size());
  if (counted) reply.array(taken);
  for (size_t i = 0; i < taken; ++i) pop_one<kEnd>(*list.value, reply);
  if (list.value->empty()) keys.erase(args[1]);
}

void llen(Keyspace& keys, const Args& args, Reply& reply) {
  const auto list = keys.find<List>(args[1]);
  if (list.wrong_type) return reply.wrong_type();
  reply.integer(list.value != nullptr ? list.value->size() : 0);
}

// Both ends are counted from the front, or, if negative, from the back; the last is part of it.
void lrange(Keyspace& keys, const Args& args, Reply& reply) {
  const std::optional<int64_t> first = parse_integer(args[2]), last = parse_integer(args[3]);
  if (!first || !last) return reply.not_an_integer();
  const auto list = keys.find<List>(args[1]);
  if (list.wrong_type) return reply.wrong_type();
  if (list.value == nullptr) return reply.array(0);
  const auto size = static_cast<int64_t>(list.value->size());
  const int64_t begin = std::max<int64_t>(*first < 0 ? *first + size : *first, 0);
  const int64_t end = std::min(*last < 0 ? *last + size : *last, size - 1) + 1;
  if (begin >= end) return reply.array(0);
  reply.array(end - begin);
  for (auto i = list.value->cbegin() + begin, stop = list.value->cbegin() + end; i != stop; ++i)
    reply.bulk(*i);
}

constexpr Command kCommands[] = {
    {.name = "lpush", .arity = -3, .keys = Keys::kFirst, .on_keys = push<End::kLeft>},
    {.name = "rpush", .arity = -3, .keys = Keys::kFirst, .on_keys = push<End::kRight>},
    {.name = "lpop", .arity = -2, .keys = Keys::kFirst, .on_keys = pop<End::kLeft>},
    {.name = "rpop", .arity = -2, .keys = Keys::kFirst, .on_keys = pop<End::kRight>},
    {.name = "llen", .arity = 2, .keys = Keys::kFirst, .on_keys = llen},
    {.name = "lrange", .arity = 4, .keys = Keys::kFirst, .on_keys = lrange},
};

}  // namespace

std::span<const Command> list_commands() { return kCommands; }

}  // namespace gyre::kv
