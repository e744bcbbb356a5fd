#ifndef GYRE_TESTS_LOOP_MODEL_EXECUTION_H_
#define GYRE_TESTS_LOOP_MODEL_EXECUTION_H_

#include <csetjmp>

#include "gyre/tests/loop/model/memory_model.h"
#include "gyre/tests/loop/model/state.h"

namespace gyre::model {

// Runs one call of one thread up to its next operation, and no further.
//
// A call is ordinary C++ that is run over and over: from its beginning each time, with what its
// operations gave so far answered out of the thread's log, until it comes to one that has no answer
// yet. That one becomes the thread's pending request, and the call is left with longjmp. So the
// whole of a thread between two operations is its locals and its log: data that can be copied,
// hashed and compared. What is run has to be deterministic, and may hold nothing that needs to be
// destroyed.
class Execution {
 public:
  // f(locals, ledger) is the call. It works on copies, which take effect once it has returned.
  // Nullptr, or what the call did wrong.
  template <class F>
  static const char* run(State& state, int thread, const F& f) {
    Execution execution(state, thread);
    current_ = &execution;
    if (execution.run_call(f)) execution.finish();
    current_ = nullptr;
    return execution.failure_;
  }

  // Gives the thread what its pending operation gave; run() goes on from there.
  static void answer(Thread& thread, const Outcome& outcome);
  // As if the load at thread.reread had given that, and nothing had come after it.
  static void reread(Thread& thread, Value value);
  // As if that load were still to come.
  static void look_again(Thread& thread);

  // For Sync and the programs, within a call.
  static Value operate(const Request& request);
  static Value get(int datum);
  static void set(int datum, Value value);
  static void free(int datum);
  // In a loop that only looks: what has been seen since the last operation that wrote something has
  // to change, and what is seen then decides. Does not return.
  [[noreturn]] static void spin();
  // Says what the call did wrong.
  static void fail(const char* what);

  // Within a set-up: see Setup.
  static uint8_t add_location(Value initial);
  static uint8_t add_plain();

  // While it lives, the model's atomics and data may be made; they are part of `state` then.
  class Setup {
   public:
    explicit Setup(State& state);
    Setup(const Setup&) = delete;
    Setup& operator=(const Setup&) = delete;
    ~Setup();

    // So many data that are not atomic were made.
    int plain() const { return plain_; }

   private:
    friend class Execution;
    State& state_;
    int locations_ = 0;
    int plain_ = 0;
  };

 private:
  enum : int { kSuspended = 1, kSpins = 2 };  // how a call was left

  Execution(State& state, int thread)
      : state_(state),
        thread_(state.threads[thread]),
        id_(thread),
        locals_(thread_.locals),
        ledger_(state.ledger) {}

  template <class F>
  bool run_call(const F& f) {
    switch (setjmp(left_)) {
      case kSuspended:
        return false;
      case kSpins:
        start_over();
    }
    f(locals_, ledger_);
    return true;
  }
  void start_over();
  void finish();
  static void append(Thread& thread, Value value, bool wrote);
  bool answered() const { return position_ < thread_.logged; }
  void log(Value value, bool wrote);

  static thread_local Execution* current_;
  static thread_local Setup* setup_;

  State& state_;
  Thread& thread_;
  const int id_;
  Locals locals_;
  Ledger ledger_;
  int position_ = 0;  // in the log
  const char* failure_ = nullptr;
  std::jmp_buf left_;
};

}  // namespace gyre::model

#endif  // GYRE_TESTS_LOOP_MODEL_EXECUTION_H_
