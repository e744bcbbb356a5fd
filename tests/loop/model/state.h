#ifndef GYRE_TESTS_LOOP_MODEL_STATE_H_
#define GYRE_TESTS_LOOP_MODEL_STATE_H_

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

namespace gyre::model {

// What an exploration may use. Small, because a state is copied for every step; whoever needs more
// is told so by a failed check, and raises the number.
inline constexpr int kMaxThreads = 5;
inline constexpr int kMaxLocations = 9;
inline constexpr int kMaxMessages = 96;
inline constexpr int kMaxPlain = 40;
inline constexpr int kMaxWakes = 16;
inline constexpr int kMaxLog = 48;
inline constexpr int kMaxBuffered = 4;

using Value = uint64_t;

// One bit for each datum that is not atomic: set where its latest access is known, that is, where
// that access happened before. Whoever accesses a datum has to know of the access before it.
using Knowledge = uint64_t;

// What a thread knows, or what a message hands to a thread that acquires it.
struct View {
  Knowledge known = 0;
  std::array<uint8_t, kMaxLocations> seen{};  // of each location: nothing older may be read
};

// One value in a location's modification order.
struct Message {
  Value value = 0;
  View view;
  bool follows = false;  // written by a read-modify-write of the one before: nothing comes between
};

// An operation at which a thread waits to be scheduled.
struct Request {
  enum class Kind : uint8_t {
    kNone,
    kLoad,
    kStore,
    kExchange,
    kFetchAdd,
    kCompareExchange,
    kFence,    // sequentially consistent
    kWake,     // writes a wake-up
    kWait,     // until a wake-up was written, or for as often as something else may end it
    kPoll,     // takes a wake-up that is there; does not wait
    kOption,   // the program may do the one or the other: one of `operand` numbers
    kDestroy,  // the waker's end
  };
  Kind kind = Kind::kNone;
  uint8_t location = 0;
  bool acquire = false;  // for a compare-exchange: when it succeeds
  bool release = false;
  bool acquire_failed = false;
  bool weak = false;
  Value operand = 0;
  Value expected = 0;

  bool operator==(const Request&) const = default;
};

// What a program's thread keeps from one call to the next. Nothing else of it survives a call.
struct Locals {
  uint8_t position = 0;
  uint8_t count = 0;
  Value value = 0;
};

struct Thread {
  Locals locals;
  View view;
  Request pending;
  bool started = false;
  bool ended = false;
  // In a loop that waits for another value than `last_read`: reading that again changes nothing.
  bool spins = false;
  Value last_read = 0;
  // Where in the log is what the last load gave, if only compare-exchanges of the same location
  // came after it, which failed. -1: nowhere.
  int8_t reread = -1;
  uint8_t reread_location = 0;
  uint8_t logged = 0;
  uint8_t log_written = 0;         // the log up to its last entry that wrote something
  std::array<Value, kMaxLog> log;  // what the operations of the unfinished call gave so far
};

struct BufferedStore {
  uint8_t location = 0;
  Value value = 0;
};

struct StoreBuffer {
  uint8_t size = 0;
  std::array<BufferedStore, kMaxBuffered> stores;
};

// What is known of an execution from outside: the kernel's side, and the tests' books.
struct Ledger {
  bool token = false;   // a wake-up was written, and no wait has taken it
  uint8_t io_left = 0;  // how often a wait may still end without a wake-up
  uint8_t wakes = 0;    // written
  uint8_t sleeps = 0;   // begun, and no wake-up was written for them yet
  bool waker_destroyed = false;
  bool stop_asked = false;  // request_stop has returned
  bool stop_seen = false;   // by the consumer
  bool closed = false;
  uint16_t accepted = 0;  // a bit for each node: push said true
  uint16_t refused = 0;   // push said false
  uint16_t handed_out = 0;
};

// All of an execution at one moment.
struct State {
  State() = default;
  // The variable parts are copied as far as they are used.
  State(const State& other) { copy(other); }
  State& operator=(const State& other) {
    if (this != &other) copy(other);
    return *this;
  }

  int base(int location) const {
    int result = 0;
    for (int i = 0; i < location; ++i) result += counts[i];
    return result;
  }
  Message* messages_of(int location) { return messages.data() + base(location); }
  const Message* messages_of(int location) const { return messages.data() + base(location); }
  int total_messages() const { return base(kMaxLocations); }

  bool tracks_races = false;
  Ledger ledger;
  Knowledge dead = 0;  // data whose owner has freed them
  std::array<Value, kMaxPlain> plain{};
  View fence;  // what the sequentially consistent fences so far have seen
  std::array<Thread, kMaxThreads> threads;
  std::array<StoreBuffer, kMaxThreads> buffers;
  std::array<uint8_t, kMaxLocations> counts{};  // of each location: how many messages
  std::array<Message, kMaxMessages> messages;   // by location, each in modification order

 private:
  static void copy(const Thread& from, Thread& to) {
    to.locals = from.locals;
    to.view = from.view;
    to.pending = from.pending;
    to.started = from.started;
    to.ended = from.ended;
    to.reread = from.reread;
    to.reread_location = from.reread_location;
    to.spins = from.spins;
    to.last_read = from.last_read;
    to.logged = from.logged;
    to.log_written = from.log_written;
    std::copy_n(from.log.begin(), from.logged, to.log.begin());
  }

  void copy(const State& other) {
    tracks_races = other.tracks_races;
    ledger = other.ledger;
    dead = other.dead;
    plain = other.plain;
    fence = other.fence;
    for (int i = 0; i < kMaxThreads; ++i) {
      copy(other.threads[i], threads[i]);
      buffers[i].size = other.buffers[i].size;
      std::copy_n(other.buffers[i].stores.begin(), buffers[i].size, buffers[i].stores.begin());
    }
    counts = other.counts;
    std::copy_n(other.messages.begin(), other.total_messages(), messages.begin());
  }
};

}  // namespace gyre::model

#endif  // GYRE_TESTS_LOOP_MODEL_STATE_H_
