#ifndef GYRE_TESTS_LOOP_MODEL_MEMORY_MODEL_H_
#define GYRE_TESTS_LOOP_MODEL_MEMORY_MODEL_H_

#include <vector>

#include "gyre/tests/loop/model/state.h"

namespace gyre::model {

enum class MemoryModel {
  // One memory, one operation after the other, whatever orders were named.
  kSequential,
  // Each thread's stores wait in a buffer, first in first out, which the thread itself reads
  // through. A read-modify-write, a fence and a system call drain it. That is x86.
  kStoreBuffers,
  // The C++ rules. A location is a list of messages in modification order. A thread may read any
  // that is not older than what it knows of; a store may go anywhere behind that; a
  // read-modify-write follows directly on what it read; an acquiring read of a releasing write, or
  // of a read-modify-write in its release sequence, hands over what the writer knew. No load reads
  // from a store that comes later in the execution, as no compiler and no processor does here.
  kAcquireRelease,
};
const char* to_string(MemoryModel model);

// One way in which a thread may go on from its pending request.
struct Choice {
  enum class Kind : uint8_t {
    kRead,     // a load, or the read of a read-modify-write, of messages[position]
    kFail,     // a compare-exchange that reads messages[position], and does not write
    kWriteAt,  // a store that becomes messages[position]
    kFlush,    // the oldest buffered store reaches the memory
    kToken,    // a wait ends by a wake-up
    kIo,       // a wait ends by something else
    kOption,   // `position` is what the program is told
    kProceed,  // there is but one way
  };
  Kind kind = Kind::kProceed;
  uint8_t thread = 0;
  uint8_t position = 0;
};

// All that any thread may do now, appended to `choices`.
void add_choices(const State& state, int thread, MemoryModel model, std::vector<Choice>& choices);

struct Outcome {
  Value response = 0;    // what the operation gives its thread
  bool responds = true;  // not so for a flush
  bool wrote = false;    // `old_value` was replaced by `new_value` in `location`
  uint8_t location = 0;
  Value old_value = 0;
  Value new_value = 0;
  const char* failure = nullptr;
};

// Does it. The thread goes on with the response: see Explorer.
Outcome apply(State& state, const Choice& choice, MemoryModel model);

// An access of plain data. Nullptr, or how it is a race.
const char* access_plain(State& state, int thread, int datum);

// The datum's end, which is an access too: whoever touches it later touches what is gone.
const char* free_plain(State& state, int thread, int datum);

// Drops the messages that no thread can read any more.
void drop_unreadable(State& state, int threads, MemoryModel model);

// The data that stand for the wake-ups: writing one is an access to the waker.
inline constexpr int kFirstWake = kMaxPlain;
static_assert(kFirstWake + kMaxWakes <= 64);
inline constexpr Knowledge kWakeData = ((Knowledge{1} << kMaxWakes) - 1) << kFirstWake;

// A compare-exchange's success is told in this bit of the response; no value of a program uses it.
inline constexpr Value kSucceeded = Value{1} << 63;

}  // namespace gyre::model

#endif  // GYRE_TESTS_LOOP_MODEL_MEMORY_MODEL_H_
