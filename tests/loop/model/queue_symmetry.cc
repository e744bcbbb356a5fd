#include "gyre/tests/loop/model/queue_symmetry.h"

#include <algorithm>
#include <utility>

namespace gyre::model {
namespace {

template <class F>
void for_each_view(State& state, F f) {
  for (Thread& thread : state.threads) f(thread.view);
  f(state.fence);
  const int total = state.total_messages();
  for (int i = 0; i < total; ++i) f(state.messages[i].view);
}

Value newest(const State& state, int location) {
  return state.messages_of(location)[state.counts[location] - 1].value;
}

// Moves the bits from where each one is to to[it], those beyond stay.
template <class Bits, size_t n>
Bits permute(Bits bits, const std::array<uint8_t, n>& to, int count, int shift) {
  const Bits mask = static_cast<Bits>(((Bits{1} << count) - 1) << shift);
  Bits result = bits & static_cast<Bits>(~mask);
  for (int i = 0; i < count; ++i) {
    if (bits >> (shift + i) & 1) result |= static_cast<Bits>(Bits{1} << (shift + to[i]));
  }
  return result;
}

}  // namespace

int QueueSymmetry::index_of(Value word) const {
  const Value address = word & ~kFlags;
  if (address < layout_.first_node) return -1;
  const Value index = (address - layout_.first_node) / layout_.node_bytes;
  return index < static_cast<Value>(nodes()) ? static_cast<int>(index) : -1;
}

bool QueueSymmetry::outdated(const State& state, Value word) const {
  if ((word & ~kFlags) == layout_.outdated) return true;
  const int node = index_of(word);
  return node >= 0 && node != index_of(newest(state, layout_.word));
}

// The same for the same past under another number.
uint64_t QueueSymmetry::rank(const State& state, int producer) const {
  const Thread& thread = state.threads[producer];
  uint64_t result = thread.locals.count;
  result = result << 1 | thread.ended;
  result = result << 1 | thread.started;
  result = result << 4 | static_cast<uint64_t>(thread.pending.kind);
  result = result << 6 | thread.logged;
  result = result << 4 | std::min<uint64_t>(thread.pending.expected, kFlags + 1);
  result = result << 1 | (thread.pending.expected == layout_.outdated);
  for (int i = 0; i < layout_.pushes; ++i) {
    const int node = producer * layout_.pushes + i;
    result = result << 1 | (state.ledger.accepted >> node & 1);
    result = result << 1 | (state.ledger.refused >> node & 1);
    result = result << 1 | (state.ledger.handed_out >> node & 1);
  }
  // How far from the newest its newest node is.
  uint64_t distance = 0;
  int at = index_of(newest(state, layout_.word));
  while (at >= 0 && at / layout_.pushes != producer && distance < 15) {
    ++distance;
    at = index_of(state.plain[layout_.first_datum + 2 * at]);
  }
  result = result << 4 | (at < 0 ? 15 : distance);
  return result;
}

void QueueSymmetry::reduce(State& state, MemoryModel model) const {
  if (model == MemoryModel::kAcquireRelease) forget(state);
  count_wakes_from_zero(state);
  Order order;
  std::array<uint64_t, kMaxProducers> ranks{};
  for (int i = 0; i < layout_.producers; ++i) {
    order[i] = static_cast<uint8_t>(i);
    ranks[i] = rank(state, i);
  }
  const auto begin = order.begin(), end = begin + layout_.producers;
  const auto before = [&](uint8_t a, uint8_t b) { return ranks[a] > ranks[b]; };
  if (std::is_sorted(begin, end, before)) return;
  std::stable_sort(begin, end, before);
  renumber(state, order);
}

void QueueSymmetry::renumber(State& state, const Order& order) const {
  const int pushes = layout_.pushes, count = nodes();
  std::array<uint8_t, 16> node_to{};
  std::array<uint8_t, 32> datum_to{};
  for (int p = 0; p < layout_.producers; ++p) {
    for (int i = 0; i < pushes; ++i) {
      const int from = order[p] * pushes + i, to = p * pushes + i;
      node_to[from] = static_cast<uint8_t>(to);
      for (int d : {0, 1}) datum_to[2 * from + d] = static_cast<uint8_t>(2 * to + d);
    }
  }
  const auto renamed = [&](Value value) {
    const int node = index_of(value);
    return node < 0 ? value : value + (node_to[node] - node) * layout_.node_bytes;
  };
  const auto bits = [&](uint16_t value) { return permute(value, node_to, count, 0); };
  const auto data = [&](Knowledge value) {
    return permute(value, datum_to, 2 * count, layout_.first_datum);
  };

  state.ledger.accepted = bits(state.ledger.accepted);
  state.ledger.refused = bits(state.ledger.refused);
  state.ledger.handed_out = bits(state.ledger.handed_out);
  state.dead = data(state.dead);
  const std::array<Value, kMaxPlain> plain = state.plain;
  for (int i = 0; i < 2 * count; ++i)
    state.plain[layout_.first_datum + datum_to[i]] = plain[layout_.first_datum + i];
  for (int i = 0; i < count; ++i) {
    Value& next = state.plain[layout_.first_datum + 2 * i];
    next = renamed(next);
  }
  if (state.tracks_races) for_each_view(state, [&](View& view) { view.known = data(view.known); });
  const std::array<Thread, kMaxThreads> threads = state.threads;
  for (int i = 0; i < layout_.producers; ++i) state.threads[i] = threads[order[i]];
  for (Thread& thread : state.threads) {
    std::transform(thread.log.begin(), thread.log.begin() + thread.logged, thread.log.begin(),
                   renamed);
    thread.last_read = renamed(thread.last_read);
    thread.pending.expected = renamed(thread.pending.expected);
    thread.pending.operand = renamed(thread.pending.operand);
  }
  const int total = state.total_messages();
  for (int i = 0; i < total; ++i) state.messages[i].value = renamed(state.messages[i].value);
}

// See the class: what is left is for the producers a set, and for the consumer a list.
void QueueSymmetry::forget(State& state) const {
  for (int i = 0; i < layout_.consumer; ++i) {
    Thread& thread = state.threads[i];
    thread.view.seen = {};
    // In a call a wake-up may have been written that is still to be counted.
    const Knowledge wakes = thread.logged > 0 ? kWakeData : 0;
    thread.view.known &= own_data(i) | wakes;
  }
  const int wakes_sent = layout_.word + 1;
  for (int i = 0; i < state.counts[wakes_sent]; ++i) {
    View& view = state.messages_of(wakes_sent)[i].view;
    view.known &= kWakeData;
    view.seen[layout_.word] = 0;
  }
  keep_set_of_old_messages(state);
}

Knowledge QueueSymmetry::own_data(int producer) const {
  if (producer >= layout_.producers) return Knowledge{1} << layout_.stop_datum;
  const int count = 2 * layout_.pushes;
  return ((Knowledge{1} << count) - 1) << (layout_.first_datum + count * producer);
}

// Only the difference of the two counts matters. What the consumer may still read of the count is
// what it owes, or more: a smaller number makes it look again, and nothing else.
void QueueSymmetry::count_wakes_from_zero(State& state) const {
  const int location = layout_.word + 1;
  Value& owed = state.plain[layout_.owed_datum];
  Message* messages = state.messages_of(location);
  const int count = state.counts[location];
  int first = 0;
  while (first + 1 < count && messages[first].value < owed) ++first;
  if (first > 0) {
    std::move(messages + first, state.messages.data() + state.total_messages(), messages);
    state.counts[location] = static_cast<uint8_t>(count - first);
    messages[0].follows = false;
    for_each_view(state, [=](View& view) {
      view.seen[location] = static_cast<uint8_t>(std::max(view.seen[location] - first, 0));
    });
  }
  const Value base = std::min(messages[0].value, owed);
  owed -= base;
  state.threads[layout_.consumer].last_read -= base;  // it looks at the count when it spins
  for (int i = 0; i < state.counts[location]; ++i) messages[i].value -= base;
  if (state.tracks_races) {
    merge_counted_wakes(state, messages[0].view.known);
  } else {
    state.ledger.wakes = 0;
  }
}

// Whatever value of the count the consumer acquires, it learns of these wake-ups together: they are
// one from here on, the first.
void QueueSymmetry::merge_counted_wakes(State& state, Knowledge counted) const {
  std::array<uint8_t, kMaxWakes> to{};
  const int wakes = state.ledger.wakes;
  uint8_t next = 1;
  for (int i = 0; i < wakes; ++i) to[i] = counted >> (kFirstWake + i) & 1 ? 0 : next++;
  if (next == 1 + wakes) return;  // none
  // The merged one is known where all of them are.
  const Knowledge merged = counted & kWakeData;
  for_each_view(state, [&](View& view) {
    Knowledge known = view.known & ~kWakeData;
    if ((view.known & merged) == merged) known |= Knowledge{1} << kFirstWake;
    for (int i = 0; i < wakes; ++i) {
      if (to[i] != 0 && view.known >> (kFirstWake + i) & 1)
        known |= Knowledge{1} << (kFirstWake + to[i]);
    }
    view.known = known;
  });
  state.ledger.wakes = next;
}

void QueueSymmetry::keep_set_of_old_messages(State& state) const {
  const int location = layout_.word;
  const int count = state.counts[location];
  Thread& consumer = state.threads[layout_.consumer];
  const int old = consumer.ended ? count - 1 : consumer.view.seen[location];
  Message* messages = state.messages_of(location);
  for (int i = 0; i + 1 < count; ++i) {
    messages[i].view = View{};
    messages[i].follows = true;
    // The consumer looks at the flags of what it may still read.
    if ((messages[i].value & ~kFlags) != 0)
      messages[i].value = layout_.outdated | (i < old ? 0 : messages[i].value & kFlags);
  }
  messages[count - 1].view.seen = {};
  messages[count - 1].follows = true;
  const auto by_value = [](const Message& a, const Message& b) { return a.value < b.value; };
  const auto same = [](const Message& a, const Message& b) { return a.value == b.value; };
  std::sort(messages, messages + old, by_value);
  const int kept = static_cast<int>(std::unique(messages, messages + old, same) - messages);
  std::move(messages + old, state.messages.data() + state.total_messages(), messages + kept);
  messages[0].follows = false;
  state.counts[location] = static_cast<uint8_t>(count - (old - kept));
  if (!consumer.ended) consumer.view.seen[location] = static_cast<uint8_t>(kept);
}

}  // namespace gyre::model
