#include "gyre/tests/loop/model/execution.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>

namespace gyre::model {
namespace {

[[noreturn]] void misused(const char* what) {
  std::fprintf(stderr, "model: %s\n", what);
  std::abort();
}

}  // namespace

thread_local Execution* Execution::current_ = nullptr;
thread_local Execution::Setup* Execution::setup_ = nullptr;

Execution::Setup::Setup(State& state) : state_(state) { setup_ = this; }

Execution::Setup::~Setup() {
  setup_ = nullptr;
  const Knowledge all = (Knowledge{1} << plain_) - 1;
  for (Thread& thread : state_.threads) thread.view.known = all;
}

uint8_t Execution::add_location(Value initial) {
  if (setup_ == nullptr) misused("an atomic is made outside of a set-up");
  if (setup_->locations_ == kMaxLocations) misused("raise kMaxLocations");
  const auto location = static_cast<uint8_t>(setup_->locations_++);
  State& state = setup_->state_;
  state.messages[location] = Message{};
  state.messages[location].value = initial;
  state.counts[location] = 1;
  return location;
}

uint8_t Execution::add_plain() {
  if (setup_ == nullptr) misused("a datum is made outside of a set-up");
  if (setup_->plain_ == kMaxPlain) misused("raise kMaxPlain");
  return static_cast<uint8_t>(setup_->plain_++);
}

Value Execution::operate(const Request& request) {
  if (current_ == nullptr) misused("an operation outside of a call");
  Execution& execution = *current_;
  if (execution.answered()) return execution.thread_.log[execution.position_++];
  execution.thread_.pending = request;
  std::longjmp(execution.left_, kSuspended);
}

Value Execution::get(int datum) {
  Execution& execution = *current_;
  if (execution.answered()) return execution.thread_.log[execution.position_++];
  if (const char* failure = access_plain(execution.state_, execution.id_, datum)) fail(failure);
  const Value value = execution.state_.plain[datum];
  execution.log(value, /*wrote=*/false);
  return value;
}

void Execution::set(int datum, Value value) {
  Execution& execution = *current_;
  if (execution.answered()) {
    ++execution.position_;
    return;
  }
  if (const char* failure = access_plain(execution.state_, execution.id_, datum)) fail(failure);
  execution.state_.plain[datum] = value;
  execution.log(0, /*wrote=*/true);
}

void Execution::free(int datum) {
  Execution& execution = *current_;
  if (execution.answered()) {
    ++execution.position_;
    return;
  }
  if (const char* failure = free_plain(execution.state_, execution.id_, datum)) fail(failure);
  execution.log(0, /*wrote=*/true);
}

void Execution::spin() { std::longjmp(current_->left_, kSpins); }

void Execution::fail(const char* what) {
  if (current_->failure_ == nullptr) current_->failure_ = what;
}

void Execution::answer(Thread& thread, const Outcome& outcome) {
  const bool loaded = thread.pending.kind == Request::Kind::kLoad;
  const bool failed = thread.pending.kind == Request::Kind::kCompareExchange && !outcome.wrote;
  if (loaded) {
    thread.reread = static_cast<int8_t>(thread.logged);
    thread.reread_location = thread.pending.location;
  } else if (!failed || thread.pending.location != thread.reread_location) {
    thread.reread = -1;
  }
  append(thread, outcome.response, !loaded);
  thread.pending = Request{};
  thread.spins = false;
}

void Execution::reread(Thread& thread, Value value) {
  thread.logged = static_cast<uint8_t>(thread.reread);
  thread.log_written = std::min(thread.log_written, thread.logged);
  append(thread, value, /*wrote=*/false);
  thread.pending = Request{};
}

void Execution::look_again(Thread& thread) {
  thread.logged = static_cast<uint8_t>(thread.reread);
  thread.log_written = std::min(thread.log_written, thread.logged);
  thread.reread = -1;
  thread.pending = Request{};
}

void Execution::append(Thread& thread, Value value, bool wrote) {
  if (thread.logged == kMaxLog) misused("a call is too long: raise kMaxLog");
  thread.log[thread.logged++] = value;
  if (wrote) thread.log_written = thread.logged;
}

void Execution::log(Value value, bool wrote) {
  append(thread_, value, wrote);
  ++position_;
}

void Execution::start_over() {
  thread_.logged = thread_.log_written;
  thread_.spins = true;
  position_ = 0;
  locals_ = thread_.locals;
  ledger_ = state_.ledger;
}

void Execution::finish() {
  thread_.locals = locals_;
  state_.ledger = ledger_;
  thread_.logged = thread_.log_written = 0;
  thread_.reread = -1;
  thread_.last_read = 0;
}

}  // namespace gyre::model
