#ifndef GYRE_LOOP_MPSC_QUEUE_H_
#define GYRE_LOOP_MPSC_QUEUE_H_

#include <sched.h>

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "gyre/loop/cpu_hints.h"

namespace gyre::internal {

// The atomics that the queue is built on. Production uses std::atomic; the tests put a model in
// its place that explores every interleaving and every value that the memory orders allow.
struct StdSync {
  template <class T>
  using Atomic = std::atomic<T>;

  // Data that is not atomic and is handed over by the operations on an atomic.
  template <class T>
  class Plain {
   public:
    T get() const { return value_; }
    void set(T value) { value_ = value; }

   private:
    T value_{};
  };

  // Lets another thread have the CPU, if one waits for it. POSIX does not list it as signal-safe,
  // but it is nothing but a system call, which does not fail.
  static void yield() { sched_yield(); }
};

// Aligned so that three bits of its address are free for the queue's flags.
template <class Sync = StdSync>
struct alignas(8) MpscNode {
  typename Sync::template Plain<MpscNode*> next;
};

enum class PushResult {
  kQueued,      // the consumer is awake: nothing more to do
  kWakeNeeded,  // the consumer sleeps, and this producer owes it the one wake-up of this sleep
  kClosed,      // not queued, and never will be
};

// A lock-free queue of many producers and one consumer which also carries the consumer's sleep,
// its stop and its end, all in one word. The word holds the newest node and three flags:
//
//        +---------------------- push: node, wake ------------------------+
//        |                                                                v
//     [SLEEP] <--- prepare_to_sleep ---- [empty] ------ push: node ---> [nodes] --+
//        |                                ^  ^                            | ^     | push: node
//        +---- take_all: no producer -----+  +---------- take_all --------+ +-----+
//              ended the sleep
//
//     request_stop: [empty] and [nodes] get STOP beside them, [SLEEP] becomes [empty] with STOP,
//     wake. STOP stays through pushes, keeps the consumer from sleeping, and goes with take_all.
//     close: [CLOSED] in place of whatever was there. It stands alone, and nothing follows it.
//
// Why no wake-up is lost: sleeping, posting and stopping are read-modify-writes of the same word,
// so they are totally ordered. If the push comes first, prepare_to_sleep finds the word non-zero
// and fails. If the sleep comes first, the push finds SLEEP, removes it and owes a wake-up. There
// is no second variable that either side would have to look at again, hence no fence. Exactly one
// producer finds SLEEP, hence one wake-up per sleep. The consumer takes the whole list with one
// exchange and compares no pointer, hence no ABA: a producer whose compare-exchange succeeds though
// the word was something else meanwhile has linked its node to what is there.
//
// Who ends a sleep writes the wake-up first and counts it then, in a second word, which is the last
// thing that it touches. The consumer counts the sleeps that were ended; once both counts are equal
// no producer is on its way to the waker, and after close() none ever will be: the waker may be
// destroyed.
//
// Memory orders, all of them:
//
//   R1  push, the compare-exchange: release    } what the caller did before, the node's link and
//   R1  request_stop, the same: release        } payload among it, to
//   A1  take_all, the exchange: acquire        } whoever takes it. The pushes below the newest, and
//   A1  close, the exchange: acquire           } a stop among them, are in its release sequence,
//                                              } since each change of the word modifies it.
//   R2  send_wake, the fetch-add: release      } the writing of the wake-up, to
//   A2  all_wakes_sent, the load: acquire      } who destroys the waker next.
//
//   relaxed: push's and request_stop's first load, and their failed compare-exchanges: what they
//   read is only compared, by the next compare-exchange. prepare_to_sleep: it hands over nothing,
//   and takes nothing; a waker is there before any sleep. hint, empty_hint, closed: hints.
//
// No atomic_thread_fence: ThreadSanitizer does not see them. tests/loop/model explores this
// template over a model of the atomics; docs/callback_queue.md says how.
//
// Order: the nodes of a batch come oldest first, in the order in which the pushes happened,
// whatever the thread. Cost: a push is one compare-exchange unless another producer came between.
template <class Sync = StdSync>
class MpscQueue {
 public:
  using Node = MpscNode<Sync>;

  // What take_all found: nodes oldest first, linked by `next`, the last one's null.
  struct Batch {
    Node* first = nullptr;
    Node* last = nullptr;
    size_t count = 0;
    bool stop = false;   // a stop was requested since the last take_all
    bool woken = false;  // the sleep ended by a producer, which has written or will write a wake-up
  };

  // Any thread. Signal-safe. Queues the node, and wakes the consumer if it sleeps: waker.wake().
  // False: closed, and the node is still the caller's. After true the node may be gone; after the
  // return from it the queue may be, too.
  template <class Waker>
  bool push(Node* node, Waker& waker) {
    const PushResult result = try_push(node);
    if (result == PushResult::kWakeNeeded) [[unlikely]]
      send_wake(waker);
    return result != PushResult::kClosed;
  }

  // Any thread. For a producer that is about to push: fetches what it will write, once, instead of
  // a copy to read first.
  void prepare_to_push() const { prefetch_for_writing(&word_); }

  // Any thread. Signal-safe. The next take_all reports the stop. A closed queue ignores it.
  template <class Waker>
  void request_stop(Waker& waker) {
    if (try_stop() == PushResult::kWakeNeeded) send_wake(waker);
  }

  // What is there for the consumer.
  struct Hint {
    bool nodes;
    bool stop;
  };

  // Any thread. A hint: it may be out of date at once, except for what the caller itself did.
  Hint hint() const {
    const uintptr_t word = word_.load(std::memory_order_relaxed);
    return {to_node(word) != nullptr, (word & kStop) != 0};
  }
  bool empty_hint() const { return (word_.load(std::memory_order_relaxed) & ~kSleep) == 0; }
  bool closed() const { return (word_.load(std::memory_order_relaxed) & kClosed) != 0; }

  // Consumer only, from here on.

  // True: the consumer counts as asleep, has to wait for its wake-up, and then to call take_all.
  // False: something came in between; do not wait.
  bool prepare_to_sleep() {
    uintptr_t expected = 0;
    return word_.compare_exchange_strong(expected, kSleep, std::memory_order_relaxed,
                                         std::memory_order_relaxed);
  }

  // Everything that was pushed so far. `slept`: prepare_to_sleep gave true since the last call.
  Batch take_all(bool slept = false) {
    const uintptr_t word = word_.exchange(0, std::memory_order_acquire);  // A1
    return unpack(word, slept);
  }

  // No producer will touch the waker for a sleep that has ended.
  bool all_wakes_sent() const {
    return wakes_sent_.load(std::memory_order_acquire) == wakes_owed_.get();  // A2
  }

  // Ends the queue: what was pushed so far is handed out, and every later push says kClosed.
  Batch close() {
    const uintptr_t word = word_.exchange(kClosed, std::memory_order_acquire);  // A1
    return unpack(word, /*slept=*/false);
  }

 private:
  static constexpr uintptr_t kSleep = 1;
  static constexpr uintptr_t kStop = 2;
  static constexpr uintptr_t kClosed = 4;
  static constexpr uintptr_t kFlags = kSleep | kStop | kClosed;

  // A producer cuts its nodes from memory that it fills upwards, so the older ones lie below.
  static void prefetch_before(const Node* node) {
    __builtin_prefetch(reinterpret_cast<const char*>(node) - 256);
  }

  static Node* to_node(uintptr_t word) { return reinterpret_cast<Node*>(word & ~kFlags); }

  PushResult try_push(Node* node) {
    for (;;) {
      uintptr_t seen = word_.load(std::memory_order_relaxed);
      if (seen & kClosed) return PushResult::kClosed;
      node->next.set(to_node(seen));
      const uintptr_t desired = reinterpret_cast<uintptr_t>(node) | (seen & kStop);
      if (word_.compare_exchange_weak(seen, desired, std::memory_order_release,  // R1
                                      std::memory_order_relaxed)) {
        return seen & kSleep ? PushResult::kWakeNeeded : PushResult::kQueued;
      }
      // The consumer came between, which will not come again soon, or a stop.
      if (to_node(seen) == nullptr || to_node(seen) == node->next.get()) continue;
      // Another producer is at it on another CPU. Two that fight over the line for each push are
      // slower together than one, which pushes dozens in the time of a system call. And where
      // threads wait for a CPU, the consumer may be one of them: with this one's it keeps up with
      // the other, instead of a backlog that goes through memory.
      Sync::yield();
    }
  }

  PushResult try_stop() {
    uintptr_t seen = word_.load(std::memory_order_relaxed);
    do {
      if (seen & kClosed) return PushResult::kClosed;
    } while (!word_.compare_exchange_weak(seen, (seen & ~kSleep) | kStop,
                                          std::memory_order_release,  // R1
                                          std::memory_order_relaxed));
    return seen & kSleep ? PushResult::kWakeNeeded : PushResult::kQueued;
  }

  template <class Waker>
  void send_wake(Waker& waker) {
    waker.wake();
    wakes_sent_.fetch_add(1, std::memory_order_release);  // R2
  }

  Batch unpack(uintptr_t word, bool slept) {
    Batch batch;
    batch.stop = (word & kStop) != 0;
    batch.woken = slept && (word & kSleep) == 0;
    if (batch.woken) wakes_owed_.set(wakes_owed_.get() + 1);
    Node* newest = to_node(word);
    batch.last = newest;
    while (newest != nullptr) {
      prefetch_before(newest);
      Node* older = newest->next.get();
      newest->next.set(batch.first);
      batch.first = newest;
      newest = older;
      ++batch.count;
    }
    return batch;
  }

  // On a line of its own: every producer writes it.
  alignas(64) typename Sync::template Atomic<uintptr_t> word_{0};
  alignas(64) typename Sync::template Atomic<uint64_t> wakes_sent_{0};
  typename Sync::template Plain<uint64_t> wakes_owed_;  // the consumer's
};

}  // namespace gyre::internal

#endif  // GYRE_LOOP_MPSC_QUEUE_H_
