#include "gyre/threading/loop_picker.h"

#include <iterator>
#include <string>

#include "absl/strings/str_format.h"

namespace gyre {
namespace {

struct Name {
  Placement placement;
  std::string_view name;
};
constexpr Name kNames[] = {
    {Placement::kRoundRobin, "round_robin"}, {Placement::kLeastConnections, "least_connections"},
    {Placement::kTwoChoices, "two_choices"}, {Placement::kSourceHash, "source_hash"},
    {Placement::kLeastBusy, "least_busy"},
};

// Shares of time that differ by less are the same: what was measured is noisy.
constexpr double kBusyStep = 0.05;

// Spreads every bit of x over all of the result (the finalizer of splitmix64, Vigna 2015).
uint64_t mix(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

}  // namespace

absl::StatusOr<Placement> parse_placement(std::string_view name) {
  std::string known;
  for (const Name& n : kNames) {
    if (n.name == name) return n.placement;
    if (!known.empty()) known += &n == std::end(kNames) - 1 ? " and " : ", ";
    known += n.name;
  }
  return absl::InvalidArgumentError(
      absl::StrFormat("unknown placement \"%s\": %s are known", name, known));
}

std::string_view to_string(Placement placement) {
  for (const Name& n : kNames) {
    if (n.placement == placement) return n.name;
  }
  return "unknown";
}

std::optional<size_t> LoopPicker::next_with_room(const LoopLoads& loads, size_t start) {
  for (size_t i = 0; i < loads.size(); ++i) {
    const size_t loop = (start + i) % loads.size();
    if (loads.has_room(loop)) return loop;
  }
  return std::nullopt;
}

std::optional<size_t> LoopPicker::pick(const LoopLoads& loads, uint64_t source) {
  switch (placement_) {
    case Placement::kRoundRobin:
      break;
    case Placement::kLeastConnections:
      return least_connections(loads);
    case Placement::kTwoChoices:
      return two_choices(loads);
    case Placement::kSourceHash:
      return by_source(loads, source);
    case Placement::kLeastBusy:
      return least_busy(loads);
  }
  const std::optional<size_t> loop = next_with_room(loads, next_);
  if (loop.has_value()) next_ = (*loop + 1) % loads.size();
  return loop;
}

// Ties go round, too: the search starts at another loop each time.
std::optional<size_t> LoopPicker::least_connections(const LoopLoads& loads) {
  const size_t start = next_++;
  std::optional<size_t> least;
  uint64_t fewest = 0;
  for (size_t i = 0; i < loads.size(); ++i) {
    const size_t loop = (start + i) % loads.size();
    if (!loads.has_room(loop)) continue;
    const uint64_t open = loads.connections(loop);
    if (least.has_value() && open >= fewest) continue;
    least = loop;
    fewest = open;
  }
  return least;
}

std::optional<size_t> LoopPicker::two_choices(const LoopLoads& loads) {
  const size_t count = loads.size();
  if (count < 2) return next_with_room(loads, 0);
  const size_t first = next_random() % count;
  const size_t second = (first + 1 + next_random() % (count - 1)) % count;
  const bool first_has_room = loads.has_room(first), second_has_room = loads.has_room(second);
  if (!first_has_room && !second_has_room) return next_with_room(loads, first);
  if (first_has_room != second_has_room) return first_has_room ? first : second;
  return loads.connections(second) < loads.connections(first) ? second : first;
}

// The highest of each loop's own hash of the source (rendezvous hashing, Thaler and Ravishankar
// 1996): those of a loop that is full spread over all the others, and come back to it later.
std::optional<size_t> LoopPicker::by_source(const LoopLoads& loads, uint64_t source) const {
  std::optional<size_t> best;
  uint64_t highest = 0;
  for (size_t loop = 0; loop < loads.size(); ++loop) {
    if (!loads.has_room(loop)) continue;
    const uint64_t score = mix(mix(source ^ hash_seed_) + loop * 0x9e3779b97f4a7c15);
    if (best.has_value() && score <= highest) continue;
    best = loop;
    highest = score;
  }
  return best;
}

// Among those that are equally busy, the one with the fewest connections.
std::optional<size_t> LoopPicker::least_busy(const LoopLoads& loads) {
  const size_t start = next_++;
  std::optional<size_t> best;
  int least = 0;
  uint64_t fewest = 0;
  for (size_t i = 0; i < loads.size(); ++i) {
    const size_t loop = (start + i) % loads.size();
    if (!loads.has_room(loop)) continue;
    const int busy = static_cast<int>(loads.busy(loop) / kBusyStep);
    const uint64_t open = loads.connections(loop);
    if (best.has_value() && (busy > least || (busy == least && open >= fewest))) continue;
    best = loop;
    least = busy;
    fewest = open;
  }
  return best;
}

uint64_t LoopPicker::next_random() { return mix(random_ += 0x9e3779b97f4a7c15); }

}  // namespace gyre
