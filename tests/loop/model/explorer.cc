#include "gyre/tests/loop/model/explorer.h"

#include <cstdio>
#include <deque>
#include <utility>

#include "gyre/tests/loop/model/execution.h"
#include "gyre/tests/loop/model/state_hash.h"

namespace gyre::model {
namespace {

using Kind = Request::Kind;

std::string hex(Value value) {
  char text[32];
  std::snprintf(text, sizeof(text), value < 1000 ? "%llu" : "%#llx",
                static_cast<unsigned long long>(value));
  return text;
}

std::string describe(const Request& request, const Choice& choice, const Outcome& outcome) {
  const std::string at = " location " + std::to_string(request.location);
  const std::string gives = " gives " + hex(outcome.response & ~kSucceeded);
  switch (choice.kind) {
    case Choice::Kind::kFlush:
      return "a buffered store reaches the memory";
    case Choice::Kind::kFail:
      return "compare-exchange of" + at + " fails," + gives;
    case Choice::Kind::kToken:
      return "wait ends by a wake-up";
    case Choice::Kind::kIo:
      return "wait ends by something else";
    default:
      break;
  }
  switch (request.kind) {
    case Kind::kLoad:
      return "load of" + at + gives;
    case Kind::kStore:
      return "store of " + hex(request.operand) + " to" + at;
    case Kind::kExchange:
      return "exchange of" + at + gives + ", puts " + hex(request.operand);
    case Kind::kFetchAdd:
      return "fetch-add of" + at + gives;
    case Kind::kCompareExchange:
      return "compare-exchange of" + at + gives + ", puts " + hex(request.operand);
    case Kind::kFence:
      return "fence";
    case Kind::kWake:
      return "writes a wake-up";
    case Kind::kPoll:
      return "polls";
    case Kind::kOption:
      return "chooses" + gives;
    case Kind::kDestroy:
      return "ends the waker";
    default:
      return "nothing";
  }
}

class Exploration {
 public:
  Exploration(const std::function<std::unique_ptr<Program>()>& make, const Options& options)
      : options_(options) {
    State& initial = path_.emplace_back().state;
    initial.tracks_races = options_.model == MemoryModel::kAcquireRelease;
    {
      Execution::Setup setup(initial);
      program_ = make();
    }
    program_->begin(initial.ledger);
    threads_ = program_->threads();
    for (int i = threads_; i < kMaxThreads; ++i) initial.threads[i].ended = true;
    for (int i = 0; i < threads_; ++i) go_on(initial, i);
    path_.back().hash = hash(initial, threads_);
    seen_.add(path_.back().hash);
    enter();
  }

  Result run() {
    while (!path_.empty() && result_.failure.empty()) {
      Place& place = path_.back();
      if (place.next < place.choices.size()) {
        step(place, place.choices[place.next++]);
      } else {
        seen_.leave_path(place.hash);
        path_.pop_back();
      }
      if (seen_.size() >= options_.max_states) {
        result_.complete = false;
        break;
      }
    }
    result_.states = seen_.size();
    return std::move(result_);
  }

 private:
  // A state on the path from the beginning.
  struct Place {
    State state;
    uint64_t hash = 0;
    std::vector<Choice> choices;
    size_t next = 0;
    Outcome outcome;  // of the choice that was taken last
  };

  // Runs the thread up to its next operation.
  void go_on(State& state, int id) {
    Thread& thread = state.threads[id];
    while (thread.pending.kind == Kind::kNone && !thread.ended) {
      const char* failure = Execution::run(state, id, [this, id](Locals& locals, Ledger& ledger) {
        program_->call(id, locals, ledger);
      });
      if (failure != nullptr) fail(failure);
      // Only between two calls.
      if (thread.pending.kind == Kind::kNone && program_->ended(id, thread.locals)) {
        thread.ended = true;
        thread.view = View{};
      }
    }
  }

  void step(Place& place, const Choice& choice) {
    next_ = place.state;
    Thread& thread = next_.threads[choice.thread];
    const Kind kind = thread.pending.kind;
    place.outcome = apply(next_, choice, options_.model);
    ++result_.steps;
    if (place.outcome.failure != nullptr) return fail(place.outcome.failure);
    if (place.outcome.responds) {
      if (kind == Kind::kWake) check(program_->on_wake(next_.ledger));
      thread.started = true;
      if (choice.kind == Choice::Kind::kFail && thread.reread >= 0) {
        retry(choice.thread, place);
      } else {
        Execution::answer(thread, place.outcome);
        go_on(next_, choice.thread);
      }
    }
    if (!result_.failure.empty()) return;
    reduce(next_);
    drop_unreadable(next_, threads_, options_.model);
    visit(choice);
  }

  // After a failed compare-exchange a loop is where a load of the same value would have led it; or,
  // if it loads anew, where it was before its load. That is looked at, not taken for granted: a
  // thread that would do something else is left alone.
  void retry(int id, const Place& place) {
    Thread& thread = next_.threads[id];
    State merged = next_;
    Execution::answer(thread, place.outcome);
    go_on(next_, id);
    if (!result_.failure.empty()) return;
    if (thread.pending.kind == Kind::kCompareExchange) {
      Execution::reread(merged.threads[id], place.outcome.response);
    } else if (thread.pending.kind == Kind::kLoad) {
      Execution::look_again(merged.threads[id]);
    } else {
      return;
    }
    go_on(merged, id);
    if (merged.threads[id].pending == thread.pending && merged.plain == next_.plain) next_ = merged;
  }

  void reduce(State& state) {
    if (!options_.reduce) return;
    for (int i = 0; i < threads_; ++i) {
      Thread& thread = state.threads[i];
      if (thread.pending.kind != Kind::kCompareExchange || thread.reread < 0) continue;
      const std::optional<Value> value = program_->outdated(state, thread.pending);
      if (!value.has_value() || thread.pending.expected == *value) continue;
      Execution::reread(thread, *value);
      go_on(state, i);
    }
    program_->reduce(state, options_.model);
  }

  void visit(const Choice& choice) {
    const uint64_t next_hash = hash(next_, threads_);
    // Failed for nothing, and tries again.
    if (choice.kind == Choice::Kind::kFail && next_hash == path_.back().hash) return;
    switch (seen_.add(next_hash)) {
      case StateSet::Found::kNew: {
        Place& place = path_.emplace_back();
        place.state = next_;
        place.hash = next_hash;
        if (options_.progress && seen_.size() % 1'000'000 == 0)
          options_.progress(seen_.size(), path_.size());
        enter();
        break;
      }
      case StateSet::Found::kOnPath:
        // A loop of one thread, and no other can ever end it.
        if (movable_threads(next_) < 2 && !ends_by_itself(next_hash))
          fail("a thread spins for ever");
        break;
      case StateSet::Found::kSeen:
        break;
    }
  }

  // Some step since that state read what had been overwritten, or was a weak compare-exchange that
  // failed for nothing. Neither goes on for ever: stores become visible in finite time.
  bool ends_by_itself(uint64_t since) const {
    for (size_t i = path_.size(); i-- > 0;) {
      const Place& place = path_[i];
      const Choice& choice = place.choices[place.next - 1];
      const Request& request = place.state.threads[choice.thread].pending;
      const bool fails = choice.kind == Choice::Kind::kFail;
      if (fails && place.outcome.response == request.expected) return true;
      const bool reads = choice.kind == Choice::Kind::kRead || fails;
      if (reads && choice.position + 1 < place.state.counts[request.location]) return true;
      if (place.hash == since) break;
    }
    return false;
  }

  int movable_threads(const State& state) {
    int result = 0;
    std::vector<Choice> choices;
    for (int i = 0; i < threads_; ++i) {
      choices.clear();
      add_choices(state, i, options_.model, choices);
      result += !choices.empty();
    }
    return result;
  }

  // Looks at the newest place.
  void enter() {
    Place& place = path_.back();
    bool at_rest = true;
    for (int i = 0; i < threads_; ++i) {
      // A thread that only makes up its mind disturbs nobody, and nobody it.
      if (place.state.threads[i].pending.kind == Kind::kOption) {
        place.choices.clear();
        return add_choices(place.state, i, options_.model, place.choices);
      }
      if (must_wait_for_its_turn(place.state, i)) continue;
      add_choices(place.state, i, options_.model, place.choices);
    }
    for (const Choice& choice : place.choices) at_rest &= choice.kind == Choice::Kind::kIo;
    if (!at_rest) return;
    for (int i = 0; i < threads_; ++i) {
      const Thread& thread = place.state.threads[i];
      if (!thread.ended && thread.pending.kind != Kind::kWait)
        return fail("a thread is blocked for ever");
    }
    check(program_->at_rest(place.state));
  }

  bool must_wait_for_its_turn(const State& state, int id) const {
    return id > 0 && id < program_->alike() && !state.threads[id].started &&
           !state.threads[id - 1].started;
  }

  void check(const char* failure) {
    if (failure != nullptr) fail(failure);
  }

  void fail(const std::string& what) {
    if (!result_.failure.empty()) return;
    result_.failure = what;
    for (const Place& place : path_) {
      if (place.next == 0) break;  // the newest, where nothing was tried
      const Choice& choice = place.choices[place.next - 1];
      result_.trace.push_back(
          program_->name(choice.thread) + ": " +
          describe(place.state.threads[choice.thread].pending, choice, place.outcome));
    }
  }

  const Options& options_;
  std::unique_ptr<Program> program_;
  int threads_ = 0;
  std::deque<Place> path_;
  State next_;
  StateSet seen_;
  Result result_;
};

}  // namespace

std::string Result::to_string() const {
  std::string text = failure.empty() ? "no failure" : failure;
  text += " (" + std::to_string(states) + " states, " + std::to_string(steps) + " steps)";
  for (const std::string& step : trace) text += "\n  " + step;
  return text;
}

Result explore(const std::function<std::unique_ptr<Program>()>& make, const Options& options) {
  return Exploration(make, options).run();
}

}  // namespace gyre::model
