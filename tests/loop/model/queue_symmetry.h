#ifndef GYRE_TESTS_LOOP_MODEL_QUEUE_SYMMETRY_H_
#define GYRE_TESTS_LOOP_MODEL_QUEUE_SYMMETRY_H_

#include <array>
#include <cstddef>
#include <cstdint>

#include "gyre/tests/loop/model/memory_model.h"
#include "gyre/tests/loop/model/state.h"

namespace gyre::model {

// Tells fewer states of a queue's program apart, without losing any behaviour or failure:
//
//   - The producers do the same with nodes of their own, so it does not matter which is which: they
//     are renumbered by what they have done so far.
//   - A word that holds a node which is not the newest will never be the word again, because a node
//     is pushed once. Whoever expects it finds out at its compare-exchange, and goes on from what
//     it reads there. So all such values are one.
//   - Wake-ups are counted from where the consumer's and the producers' counts agree.
//   - With acquire and release, the producers forget what they know beyond their own nodes. Who
//     knows less may read more values, and has more races: that adds behaviours, and takes none
//     away. A producer may then read every word that there ever was, at any time, so that those
//     from before the consumer's last look are a set without order.
class QueueSymmetry {
 public:
  struct Layout {
    int producers;  // the first threads
    int consumer;   // the last one
    int pushes;
    Value first_node;  // the address; the others follow, producer by producer
    size_t node_bytes;
    int first_datum;  // two for each node: the link, and the payload
    int stop_datum;   // what the stop hands over
    int word;         // the location of the queue's word; the count of wake-ups is the next
    int owed_datum;   // where the consumer counts the sleeps that were ended
    Value outdated;   // the address of a node that is never pushed
  };

  explicit QueueSymmetry(const Layout& layout) : layout_(layout) {}

  // The word holds a node that has another before it, or was taken.
  bool outdated(const State& state, Value word) const;
  void reduce(State& state, MemoryModel model) const;

 private:
  static constexpr Value kFlags = 7;
  static constexpr int kMaxProducers = 4;
  using Order = std::array<uint8_t, kMaxProducers>;  // [new number] is the old one

  int nodes() const { return layout_.producers * layout_.pushes; }
  int index_of(Value word) const;  // -1: no node of a producer's
  uint64_t rank(const State& state, int producer) const;
  void renumber(State& state, const Order& order) const;
  void forget(State& state) const;
  Knowledge own_data(int producer) const;
  void count_wakes_from_zero(State& state) const;
  void merge_counted_wakes(State& state, Knowledge counted) const;
  void keep_set_of_old_messages(State& state) const;

  const Layout layout_;
};

}  // namespace gyre::model

#endif  // GYRE_TESTS_LOOP_MODEL_QUEUE_SYMMETRY_H_
