#ifndef GYRE_TESTS_LOOP_MODEL_QUEUE_PROGRAM_H_
#define GYRE_TESTS_LOOP_MODEL_QUEUE_PROGRAM_H_

#include <array>
#include <memory>
#include <optional>
#include <string>

#include "gyre/tests/loop/model/execution.h"
#include "gyre/tests/loop/model/explorer.h"
#include "gyre/tests/loop/model/queue_symmetry.h"
#include "gyre/tests/loop/model/sync.h"

namespace gyre::model {

// How much of it is explored at once.
struct QueueShape {
  int producers = 3;
  int pushes = 2;     // of each
  bool stop = true;   // by a thread of its own
  bool close = true;  // whenever the consumer's turn begins, and after a stop
  int io = 1;         // sleeps that something else may end
};

// Producers, a thread that asks for a stop and the consumer, around the shipped queue or a mutant
// of it. What the consumer does in its turn is what IOLoop::iterate does, in the same order.
template <template <class> class Inbox>
class QueueProgram final : public Program {
 public:
  explicit QueueProgram(const QueueShape& shape) : shape_(shape) {}

  void begin(Ledger& ledger) override { ledger.io_left = static_cast<uint8_t>(shape_.io); }

  void reduce(State& state, MemoryModel model) override { symmetry_.reduce(state, model); }
  std::optional<Value> outdated(const State& state, const Request& request) override {
    if (request.location != kWord || !symmetry_.outdated(state, request.expected)) return {};
    return to_value(static_cast<typename Queue::Node*>(&nodes_.back()));
  }

  int threads() const override { return consumer() + 1; }
  int alike() const override { return shape_.producers; }
  std::string name(int thread) const override {
    if (thread == consumer()) return "consumer";
    return thread < shape_.producers ? "producer " + std::to_string(thread) : "stopper";
  }

  void call(int thread, Locals& locals, Ledger& ledger) override {
    if (thread == consumer()) {
      take_turn(locals, ledger);
    } else if (thread < shape_.producers) {
      push(thread, locals, ledger);
    } else {
      stop_reason_.set(1);
      inbox_.request_stop(waker_);
      ledger.stop_asked = true;
      locals.position = kEnd;
    }
  }

  bool ended(int, const Locals& locals) const override { return locals.position == kEnd; }

  const char* on_wake(Ledger& ledger) override {
    if (ledger.waker_destroyed) return "a wake-up is written after the waker's end";
    if (ledger.sleeps == 0) return "a wake-up is written while the consumer is awake";
    --ledger.sleeps;
    return nullptr;
  }

  const char* at_rest(const State& state) override {
    const Ledger& ledger = state.ledger;
    const bool waits = !state.threads[consumer()].ended;
    if (ledger.sleeps != waits) return "a wake-up that is owed was never written";
    if (waits && ledger.accepted != ledger.handed_out) return "a lost wake-up: nodes are waiting";
    if (waits && ledger.stop_asked && !ledger.stop_seen) return "a lost wake-up: a stop is waiting";
    if (ledger.accepted != ledger.handed_out) return "push said true, and the node is lost";
    if (!waits && !ledger.waker_destroyed) return "the consumer ended without its close";
    return nullptr;
  }

 private:
  using Queue = Inbox<Sync>;
  using Batch = typename Queue::Batch;

  struct alignas(64) Node : Queue::Node {
    Sync::Plain<int> payload;
  };

  // Where the consumer is in its turn, between two calls.
  enum Position : uint8_t {
    kBegin,
    kChosen,
    kTaken,
    kNotStopped,
    kPoll,
    kSleep,
    kWoken,
    kStopped,
    kClose,
    kDestroy,
    kEnd
  };

  int consumer() const { return shape_.producers + shape_.stop; }
  int node_index(int producer, int push) const { return producer * shape_.pushes + push; }
  static uint16_t bit(int node) { return static_cast<uint16_t>(1 << node); }

  void push(int producer, Locals& locals, Ledger& ledger) {
    const int index = node_index(producer, locals.count);
    Node& node = nodes_[index];
    node.payload.set(locals.count + 1);
    if (inbox_.push(&node, waker_)) {
      ledger.accepted |= bit(index);
    } else {
      ledger.refused |= bit(index);
      if (ledger.handed_out & bit(index)) Execution::fail("push said false, and the node came out");
      if (node.payload.get() != locals.count + 1) Execution::fail("a refused node was changed");
      release(node);
    }
    if (++locals.count == shape_.pushes) locals.position = kEnd;
  }

  static void release(Node& node) {
    node.next.free();
    node.payload.free();
  }

  void take_turn(Locals& locals, Ledger& ledger) {
    switch (locals.position) {
      case kBegin:
        locals.position = kChosen;
        if (shape_.close && choose()) locals.position = kClose;
        break;
      case kChosen:
        if (inbox_.may_have_nodes()) run(inbox_.take(), ledger);
        locals.position = kTaken;
        break;
      case kTaken:
        locals.position = inbox_.stop_requested() ? kStopped : kNotStopped;
        break;
      case kNotStopped:
        locals.position = kPoll;
        if (!inbox_.has_nodes() && inbox_.prepare_to_sleep()) {
          locals.position = kSleep;
          ++ledger.sleeps;
        }
        break;
      case kPoll:
        Execution::operate({.kind = Request::Kind::kPoll});
        locals.position = kBegin;
        break;
      case kSleep:
        Execution::operate({.kind = Request::Kind::kWait});
        locals.position = kWoken;
        break;
      case kWoken:
        finish_sleep(ledger);
        locals.position = kBegin;
        break;
      case kStopped:
        if (ledger.stop_seen) Execution::fail("one stop ended two runs");
        ledger.stop_seen = true;
        run(inbox_.clear_stop(), ledger);
        if (stop_reason_.get() != 1) Execution::fail("a stop came before its reason");
        locals.position = shape_.close && choose() ? kClose : kBegin;
        break;
      case kClose:
        run(inbox_.close([]() -> bool { Execution::spin(); }), ledger);
        ledger.closed = true;
        locals.position = kDestroy;
        break;
      case kDestroy:
        Execution::operate({.kind = Request::Kind::kDestroy});
        locals.position = kEnd;
        break;
      default:
        Execution::fail("the model's consumer is nowhere");
    }
  }

  static bool choose() {
    return Execution::operate({.kind = Request::Kind::kOption, .operand = 2}) != 0;
  }

  void finish_sleep(Ledger& ledger) {
    const Batch batch = inbox_.finish_sleep();
    if (!batch.woken) {
      if (ledger.sleeps == 0) Execution::fail("a sleep that was woken is said to end by itself");
      if (ledger.sleeps > 0) --ledger.sleeps;
    }
    run(batch, ledger);
  }

  // As the loop runs callbacks: in order; then their memory is somebody else's.
  void run(const Batch& batch, Ledger& ledger) {
    size_t count = 0;
    typename Queue::Node* last = nullptr;
    for (typename Queue::Node* node = batch.first; node != nullptr; ++count) {
      if (count > nodes_.size()) return Execution::fail("a batch without end");
      typename Queue::Node* next = node->next.get();
      hand_out(static_cast<Node&>(*node), ledger);
      last = node;
      node = next;
    }
    if (count != batch.count) Execution::fail("a batch's count is wrong");
    if (last != batch.last) Execution::fail("a batch's last node is wrong");
  }

  void hand_out(Node& node, Ledger& ledger) {
    const int index = static_cast<int>(&node - nodes_.data());
    if (node.payload.get() != index % shape_.pushes + 1)
      Execution::fail("a node came out before its payload");
    if (ledger.handed_out & bit(index)) Execution::fail("a node came out twice");
    if (ledger.refused & bit(index)) Execution::fail("push said false, and the node came out");
    if (index % shape_.pushes > 0 && !((ledger.handed_out | ledger.refused) & bit(index - 1)))
      Execution::fail("a producer's nodes came out in another order");
    ledger.handed_out |= bit(index);
    release(node);
  }

  static constexpr int kWord = 0;       // the queue's first atomic
  static constexpr int kWakesOwed = 0;  // and its first datum
  static constexpr int kMaxNodes = 8;

  const QueueShape shape_;
  Queue inbox_;
  Waker waker_;
  std::array<Node, kMaxNodes> nodes_;  // the last one is not pushed, see `outdated`
  Sync::Plain<int> stop_reason_;       // what the stopper did before
  const QueueSymmetry symmetry_{{
      .producers = shape_.producers,
      .consumer = consumer(),
      .pushes = shape_.pushes,
      .first_node = to_value(static_cast<typename Queue::Node*>(nodes_.data())),
      .node_bytes = sizeof(Node),
      .first_datum = nodes_[0].next.datum(),
      .stop_datum = stop_reason_.datum(),
      .word = kWord,
      .owed_datum = kWakesOwed,
      .outdated = to_value(static_cast<typename Queue::Node*>(&nodes_.back())),
  }};
};

template <template <class> class Inbox>
Result explore_queue(const QueueShape& shape, const Options& options) {
  return explore([&] { return std::make_unique<QueueProgram<Inbox>>(shape); }, options);
}

}  // namespace gyre::model

#endif  // GYRE_TESTS_LOOP_MODEL_QUEUE_PROGRAM_H_
