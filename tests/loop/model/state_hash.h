#ifndef GYRE_TESTS_LOOP_MODEL_STATE_HASH_H_
#define GYRE_TESTS_LOOP_MODEL_STATE_HASH_H_

#include <cstdint>
#include <vector>

#include "gyre/tests/loop/model/state.h"

namespace gyre::model {

// The same for two states from which the same may follow. Never 0 or 1.
uint64_t hash(const State& state, int threads);

// The hashes of the states that were seen, and which of them are on the path to the present one.
class StateSet {
 public:
  enum class Found { kNew, kSeen, kOnPath };

  // Adds it where it is new, as one on the path.
  Found add(uint64_t hash);
  void leave_path(uint64_t hash);
  uint64_t size() const { return size_; }

 private:
  static constexpr uint64_t kOnPathBit = 1;

  uint64_t* find(uint64_t hash);
  void grow();

  std::vector<uint64_t> slots_ = std::vector<uint64_t>(1 << 12);  // 0: free; else a hash
  uint64_t size_ = 0;
};

}  // namespace gyre::model

#endif  // GYRE_TESTS_LOOP_MODEL_STATE_HASH_H_
