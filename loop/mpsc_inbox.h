#ifndef GYRE_LOOP_MPSC_INBOX_H_
#define GYRE_LOOP_MPSC_INBOX_H_

#include "gyre/loop/mpsc_queue.h"

namespace gyre::internal {

// An MpscQueue with what its consumer remembers from one look at the word to the next: that nodes
// are there, and that a stop was taken out of it. Each look costs the consumer and the producers
// the transfer of a cache line, so what was seen is kept until it is taken.
//
// The consumer's turn, in this order:
//
//   may_have_nodes -> take        what came is taken, to be run
//   stop_requested                true: the turns end here, with clear_stop
//   has_nodes                     true: no sleep, look at the I/O without waiting
//   prepare_to_sleep              false: as above
//   the wait, then finish_sleep
//
// In the end comes close(), after which the waker may be destroyed.
//
// A template for the same reason as MpscQueue: the tests explore this code, not a copy of it.
template <class Sync = StdSync>
class MpscInbox : private MpscQueue<Sync> {
 public:
  using Queue = MpscQueue<Sync>;
  using typename Queue::Batch;
  using typename Queue::Node;

  // Any thread: see MpscQueue.
  using Queue::closed;
  using Queue::empty_hint;
  using Queue::prepare_to_push;
  using Queue::push;
  using Queue::request_stop;

  // Consumer only, from here on.

  // False: whatever this thread knows to be pushed has been taken.
  bool may_have_nodes() const { return nodes_seen_.get() || !this->empty_hint(); }

  // The same, with its own look kept; without regard to a stop.
  bool has_nodes() { return nodes_seen_.get() || look().nodes; }

  // A stop was requested and not yet taken back by clear_stop.
  bool stop_requested() { return stop_.get() || look().stop; }

  // Everything that was pushed so far.
  Batch take() {
    nodes_seen_.set(false);
    return note(this->take_all());
  }

  // Takes back a stop, of any age; what has to be taken with it is the result.
  [[nodiscard]] Batch clear_stop() {
    Batch batch;
    if (look().stop) batch = take();
    stop_.set(false);
    return batch;
  }

  // See MpscQueue. After true, finish_sleep has to follow.
  using Queue::prepare_to_sleep;

  // Everything that was pushed so far; `woken` says whether a producer ended the sleep.
  [[nodiscard]] Batch finish_sleep() {
    nodes_seen_.set(false);
    return note(this->take_all(/*slept=*/true));
  }

  // Refuses every later push, and waits until every producer that owes a wake-up has written it:
  // after the return none touches the waker. That producer is about to do so, so the wait is short;
  // pause() is called between two looks, and ends the wait if it gives false.
  template <class Pause>
  [[nodiscard]] Batch close(Pause pause) {
    const Batch batch = note(Queue::close());
    while (!this->all_wakes_sent() && pause()) {
    }
    return batch;
  }

 private:
  typename Queue::Hint look() {
    const typename Queue::Hint hint = this->hint();
    if (hint.nodes) nodes_seen_.set(true);
    return hint;
  }

  Batch note(const Batch& batch) {
    if (batch.stop) stop_.set(true);
    return batch;
  }

  typename Sync::template Plain<bool> nodes_seen_;  // and are still to be taken
  typename Sync::template Plain<bool> stop_;
};

}  // namespace gyre::internal

#endif  // GYRE_LOOP_MPSC_INBOX_H_
