#include "gyre/tests/loop/model/memory_model.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>

namespace gyre::model {
namespace {

using Kind = Request::Kind;

[[noreturn]] void too_small(const char* what) {
  std::fprintf(stderr, "the model's bounds are too small: %s\n", what);
  std::abort();
}

void join(View& view, const View& other) {
  view.known |= other.known;
  for (int i = 0; i < kMaxLocations; ++i) view.seen[i] = std::max(view.seen[i], other.seen[i]);
}

template <class F>
void for_each_view(State& state, F f) {
  for (Thread& thread : state.threads) f(thread.view);
  f(state.fence);
  const int total = state.total_messages();
  for (int i = 0; i < total; ++i) f(state.messages[i].view);
}

// Makes room for messages_of(location)[position]; the views go on naming the messages they named.
Message& insert_message(State& state, int location, int position) {
  const int total = state.total_messages();
  if (total == kMaxMessages) too_small("messages");
  if (position < state.counts[location]) {
    for_each_view(state,
                  [=](View& view) { view.seen[location] += view.seen[location] >= position; });
  }
  Message* at = state.messages_of(location) + position;
  std::move_backward(at, state.messages.data() + total, state.messages.data() + total + 1);
  ++state.counts[location];
  *at = Message{};
  return *at;
}

bool can_come_between(const State& state, int location, int position) {
  return position == state.counts[location] || !state.messages_of(location)[position].follows;
}

Value operated(const Request& request, Value old) {
  return request.kind == Kind::kFetchAdd ? old + request.operand : request.operand;
}

// What the thread's own buffer holds for the location; nullptr: nothing.
const BufferedStore* newest_buffered(const State& state, int thread, int location) {
  const StoreBuffer& buffer = state.buffers[thread];
  for (int i = buffer.size; i-- > 0;) {
    if (buffer.stores[i].location == location) return &buffer.stores[i];
  }
  return nullptr;
}

void write_sequential(State& state, int location, Value value, Outcome& outcome) {
  Message& message = *state.messages_of(location);
  outcome.wrote = true;
  outcome.location = static_cast<uint8_t>(location);
  outcome.old_value = message.value;
  outcome.new_value = value;
  message.value = value;
}

// Under these two models every operation is as strong as can be.
Outcome apply_strong(State& state, const Choice& choice, MemoryModel model) {
  Outcome outcome;
  Thread& thread = state.threads[choice.thread];
  const Request& request = thread.pending;
  Message& message = *state.messages_of(request.location);
  if (request.kind == Kind::kLoad) {
    const BufferedStore* own = newest_buffered(state, choice.thread, request.location);
    outcome.response = own != nullptr ? own->value : message.value;
    thread.last_read = outcome.response;
    return outcome;
  }
  if (request.kind == Kind::kStore) {
    if (model == MemoryModel::kStoreBuffers) {
      StoreBuffer& buffer = state.buffers[choice.thread];
      buffer.stores[buffer.size++] = {request.location, request.operand};
    } else {
      write_sequential(state, request.location, request.operand, outcome);
    }
    return outcome;
  }
  outcome.response = message.value;
  if (choice.kind == Choice::Kind::kFail) return outcome;
  if (request.kind == Kind::kCompareExchange) outcome.response |= kSucceeded;
  write_sequential(state, request.location, operated(request, message.value), outcome);
  return outcome;
}

void read_message(Thread& thread, int location, int position, const View& message, bool acquire) {
  View& view = thread.view;
  view.seen[location] = std::max(view.seen[location], static_cast<uint8_t>(position));
  if (acquire) join(view, message);
}

Outcome apply_acquire_release(State& state, const Choice& choice) {
  Outcome outcome;
  Thread& thread = state.threads[choice.thread];
  const Request request = thread.pending;
  const int location = request.location;
  outcome.location = request.location;
  if (choice.kind == Choice::Kind::kWriteAt) {
    outcome.wrote = true;
    outcome.old_value = state.messages_of(location)[choice.position - 1].value;
    outcome.new_value = request.operand;
    Message& message = insert_message(state, location, choice.position);
    thread.view.seen[location] = choice.position;
    message.value = request.operand;
    if (request.release) message.view = thread.view;
    message.view.seen[location] = choice.position;
    return outcome;
  }
  const Message read = state.messages_of(location)[choice.position];
  outcome.response = read.value;
  if (request.kind == Kind::kLoad) thread.last_read = read.value;
  if (choice.kind == Choice::Kind::kFail || request.kind == Kind::kLoad) {
    const bool failed = choice.kind == Choice::Kind::kFail;
    read_message(thread, location, choice.position, read.view,
                 failed ? request.acquire_failed : request.acquire);
    return outcome;
  }
  if (request.kind == Kind::kCompareExchange) outcome.response |= kSucceeded;
  outcome.wrote = true;
  outcome.old_value = read.value;
  outcome.new_value = operated(request, read.value);
  const uint8_t position = choice.position + 1;
  Message& message = insert_message(state, location, position);
  read_message(thread, location, position, state.messages_of(location)[choice.position].view,
               request.acquire);
  message.value = outcome.new_value;
  message.follows = true;
  // The release sequence: what the message before it hands over, this one does.
  message.view = state.messages_of(location)[choice.position].view;
  if (request.release) join(message.view, thread.view);
  message.view.seen[location] = position;
  return outcome;
}

Outcome flush(State& state, int thread) {
  Outcome outcome;
  outcome.responds = false;
  StoreBuffer& buffer = state.buffers[thread];
  const BufferedStore store = buffer.stores[0];
  std::copy(buffer.stores.begin() + 1, buffer.stores.begin() + buffer.size, buffer.stores.begin());
  --buffer.size;
  write_sequential(state, store.location, store.value, outcome);
  return outcome;
}

// The kernel's side. It orders nothing: the waker's users may rely on no more than the waking.
Outcome apply_system_call(State& state, const Choice& choice) {
  Outcome outcome;
  Ledger& ledger = state.ledger;
  Thread& thread = state.threads[choice.thread];
  switch (thread.pending.kind) {
    case Kind::kWake:
      if (ledger.waker_destroyed) outcome.failure = "a wake-up was written after the waker's end";
      if (ledger.wakes == kMaxWakes) too_small("wake-ups");
      access_plain(state, choice.thread, kFirstWake + ledger.wakes++);
      ledger.token = true;
      break;
    case Kind::kWait:
      if (choice.kind == Choice::Kind::kIo) {
        --ledger.io_left;
      } else {
        ledger.token = false;
      }
      break;
    case Kind::kPoll:
      ledger.token = false;
      break;
    case Kind::kDestroy: {
      const Knowledge wakes = ((Knowledge{1} << ledger.wakes) - 1) << kFirstWake;
      if (state.tracks_races && (~thread.view.known & wakes))
        outcome.failure = "the waker's end races with a wake-up";
      ledger.waker_destroyed = true;
      break;
    }
    case Kind::kOption:
      outcome.response = choice.position;
      break;
    case Kind::kFence:
      join(thread.view, state.fence);
      state.fence = thread.view;
      break;
    default:
      too_small("requests");
  }
  return outcome;
}

bool drains(Kind kind) { return kind != Kind::kLoad && kind != Kind::kStore; }

// A weak compare-exchange may fail for nothing. In a loop that changes nothing but the value that
// is expected, that leads to the state before; elsewhere it may happen as often as the log is long.
bool may_fail(const Thread& thread, bool equal) { return !equal || thread.pending.weak; }

bool repeats(const Thread& thread, Value value) {
  return thread.spins && value == thread.last_read;
}

void add_strong_choices(const State& state, int thread, std::vector<Choice>& choices) {
  const Request& request = state.threads[thread].pending;
  const auto id = static_cast<uint8_t>(thread);
  if (request.kind == Kind::kLoad) {
    const BufferedStore* own = newest_buffered(state, thread, request.location);
    const Value value = own != nullptr ? own->value : state.messages_of(request.location)->value;
    if (!repeats(state.threads[thread], value)) choices.push_back({Choice::Kind::kRead, id, 0});
    return;
  }
  if (request.kind != Kind::kCompareExchange) {
    choices.push_back({Choice::Kind::kRead, id, 0});
    return;
  }
  const bool equal = state.messages_of(request.location)->value == request.expected;
  if (equal) choices.push_back({Choice::Kind::kRead, id, 0});
  if (may_fail(state.threads[thread], equal)) choices.push_back({Choice::Kind::kFail, id, 0});
}

void add_acquire_release_choices(const State& state, int thread, std::vector<Choice>& choices) {
  const Request& request = state.threads[thread].pending;
  const auto id = static_cast<uint8_t>(thread);
  const int location = request.location;
  const int count = state.counts[location];
  const Message* messages = state.messages_of(location);
  for (int i = state.threads[thread].view.seen[location]; i < count; ++i) {
    const auto position = static_cast<uint8_t>(i);
    const bool open_behind = can_come_between(state, location, i + 1);
    const bool equal = messages[i].value == request.expected;
    switch (request.kind) {
      case Kind::kLoad:
        if (!repeats(state.threads[thread], messages[i].value))
          choices.push_back({Choice::Kind::kRead, id, position});
        break;
      case Kind::kStore:
        if (open_behind)
          choices.push_back({Choice::Kind::kWriteAt, id, static_cast<uint8_t>(i + 1)});
        break;
      case Kind::kCompareExchange:
        if (equal && open_behind) choices.push_back({Choice::Kind::kRead, id, position});
        if (may_fail(state.threads[thread], equal))
          choices.push_back({Choice::Kind::kFail, id, position});
        break;
      default:
        if (open_behind) choices.push_back({Choice::Kind::kRead, id, position});
    }
  }
}

}  // namespace

const char* to_string(MemoryModel model) {
  switch (model) {
    case MemoryModel::kSequential:
      return "sequential";
    case MemoryModel::kStoreBuffers:
      return "store buffers";
    case MemoryModel::kAcquireRelease:
      return "acquire/release";
  }
  return "";
}

void add_choices(const State& state, int thread, MemoryModel model, std::vector<Choice>& choices) {
  const Request& request = state.threads[thread].pending;
  const StoreBuffer& buffer = state.buffers[thread];
  const auto id = static_cast<uint8_t>(thread);
  if (buffer.size > 0) choices.push_back({Choice::Kind::kFlush, id, 0});
  if (buffer.size > 0 && drains(request.kind)) return;
  switch (request.kind) {
    case Kind::kNone:
      return;
    case Kind::kWait:
      if (state.ledger.token) {
        choices.push_back({Choice::Kind::kToken, id, 0});
      } else if (state.ledger.io_left > 0) {
        choices.push_back({Choice::Kind::kIo, id, 0});
      }
      return;
    case Kind::kOption:
      for (uint8_t i = 0; i < request.operand; ++i)
        choices.push_back({Choice::Kind::kOption, id, i});
      return;
    case Kind::kWake:
    case Kind::kPoll:
    case Kind::kFence:
    case Kind::kDestroy:
      choices.push_back({Choice::Kind::kProceed, id, 0});
      return;
    case Kind::kStore:
      if (buffer.size == kMaxBuffered) return;
      [[fallthrough]];
    default:
      break;
  }
  if (model == MemoryModel::kAcquireRelease) {
    add_acquire_release_choices(state, thread, choices);
  } else {
    add_strong_choices(state, thread, choices);
  }
}

Outcome apply(State& state, const Choice& choice, MemoryModel model) {
  switch (choice.kind) {
    case Choice::Kind::kFlush:
      return flush(state, choice.thread);
    case Choice::Kind::kRead:
    case Choice::Kind::kFail:
    case Choice::Kind::kWriteAt:
      return model == MemoryModel::kAcquireRelease ? apply_acquire_release(state, choice)
                                                   : apply_strong(state, choice, model);
    default:
      return apply_system_call(state, choice);
  }
}

const char* access_plain(State& state, int thread, int datum) {
  const Knowledge bit = Knowledge{1} << datum;
  if (state.dead & bit) return "a datum is touched after its owner has freed it";
  if (!state.tracks_races) return nullptr;
  const bool known = (state.threads[thread].view.known & bit) != 0;
  for_each_view(state, [=](View& view) { view.known &= ~bit; });
  state.threads[thread].view.known |= bit;
  return known ? nullptr : "a data race";
}

const char* free_plain(State& state, int thread, int datum) {
  if (const char* failure = access_plain(state, thread, datum)) return failure;
  const Knowledge bit = Knowledge{1} << datum;
  state.dead |= bit;
  state.plain[datum] = 0;
  for_each_view(state, [=](View& view) { view.known &= ~bit; });
  return nullptr;
}

void drop_unreadable(State& state, int threads, MemoryModel model) {
  if (model != MemoryModel::kAcquireRelease) return;
  for (int location = 0; location < kMaxLocations; ++location) {
    if (state.counts[location] < 2) continue;
    int oldest = state.counts[location] - 1;
    for (int i = 0; i < threads; ++i) {
      if (!state.threads[i].ended)
        oldest = std::min<int>(oldest, state.threads[i].view.seen[location]);
    }
    Message* messages = state.messages_of(location);
    if (oldest > 0) {
      std::move(messages + oldest, state.messages.data() + state.total_messages(), messages);
      state.counts[location] -= oldest;
      for_each_view(state, [=](View& view) {
        view.seen[location] = std::max(view.seen[location] - oldest, 0);
      });
    }
    messages[0].follows = false;
  }
}

}  // namespace gyre::model
