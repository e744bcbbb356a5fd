#ifndef GYRE_BENCHMARKS_ALLOCATION_COUNT_H_
#define GYRE_BENCHMARKS_ALLOCATION_COUNT_H_

#include <cstdint>
#include <optional>

namespace gyre::bench {

// Counts the allocations of all threads while it lives: malloc and its kin, whoever calls them. One
// at a time. Only with glibc, and in a program without sanitizers.
class AllocationCount {
 public:
  AllocationCount();
  ~AllocationCount();
  AllocationCount(const AllocationCount&) = delete;
  AllocationCount& operator=(const AllocationCount&) = delete;

  // nullopt: they cannot be counted here.
  std::optional<uint64_t> get() const;
};

// What is taken of the heap now and was not when this was made, in all threads; nullopt: unknown.
class AllocatedBytes {
 public:
  AllocatedBytes();
  std::optional<int64_t> growth() const;

 private:
  [[maybe_unused]] int64_t before_ = 0;  // where they can be counted
};

}  // namespace gyre::bench

#endif  // GYRE_BENCHMARKS_ALLOCATION_COUNT_H_
