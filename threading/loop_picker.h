#ifndef GYRE_THREADING_LOOP_PICKER_H_
#define GYRE_THREADING_LOOP_PICKER_H_

#include "gyre/loop/cxx20.h"  // before all else

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "absl/status/statusor.h"

namespace gyre {

// Which loop a new connection goes to.
enum class Placement {
  kRoundRobin,        // each loop in turn
  kLeastConnections,  // the one with the fewest that are open
  kTwoChoices,        // of two that are drawn, the one with fewer: nearly as even, and looks at two
  kSourceHash,        // by the peer's address, so that a client comes back to its loop
  kLeastBusy,         // the one that spent the least of the last moments outside of its poller
};

// "round_robin", "least_connections", "two_choices", "source_hash", "least_busy"; InvalidArgument
// names what there is.
absl::StatusOr<Placement> parse_placement(std::string_view name);
std::string_view to_string(Placement placement);

// What a choice may look at. Loops are numbered as in their pool.
class LoopLoads {
 public:
  virtual size_t size() const = 0;
  // Assigned to the loop and not closed yet.
  virtual uint64_t connections(size_t loop) const = 0;
  // The measured share of time that the loop works, from 0 to 1.
  virtual double busy(size_t loop) const = 0;
  // False: the loop is at its limit.
  virtual bool has_room(size_t loop) const = 0;

 protected:
  ~LoopLoads() = default;
};

// Picks loops by one policy. It knows no loop, no thread and no socket. One thread at a time.
class LoopPicker {
 public:
  // `seed` decides the draws of kTwoChoices and the spread of kSourceHash: a secret one keeps
  // clients from choosing their loop.
  LoopPicker(Placement placement, uint64_t seed) : placement_(placement), random_(seed) {
    hash_seed_ = next_random();
  }

  // nullopt: no loop has room. `source`: equal for connections that are to be together.
  std::optional<size_t> pick(const LoopLoads& loads, uint64_t source);

  // The first loop with room from `start` on, round and round.
  static std::optional<size_t> next_with_room(const LoopLoads& loads, size_t start);

 private:
  std::optional<size_t> least_connections(const LoopLoads& loads);
  std::optional<size_t> two_choices(const LoopLoads& loads);
  std::optional<size_t> by_source(const LoopLoads& loads, uint64_t source) const;
  std::optional<size_t> least_busy(const LoopLoads& loads);
  uint64_t next_random();

  const Placement placement_;
  uint64_t random_;
  uint64_t hash_seed_;
  size_t next_ = 0;
};

}  // namespace gyre

#endif  // GYRE_THREADING_LOOP_PICKER_H_
