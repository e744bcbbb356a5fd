#ifndef GYRE_TESTS_SUPPORT_ALLOCATION_COUNT_H_
#define GYRE_TESTS_SUPPORT_ALLOCATION_COUNT_H_

#include <cstddef>
#include <cstdint>

namespace gyre::testing {

// A program that links this has an operator new that counts its calls, each thread its own, so that
// what a watchdog does beside the test is not among them.
uint64_t allocations();

// Those of exactly so many bytes, of less than 1024.
uint64_t allocations_of_size(size_t bytes);

}  // namespace gyre::testing

#endif  // GYRE_TESTS_SUPPORT_ALLOCATION_COUNT_H_
