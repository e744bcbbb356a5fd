#ifndef GYRE_BENCHMARKS_COMPARISON_H_
#define GYRE_BENCHMARKS_COMPARISON_H_

#include <cstddef>
#include <functional>
#include <string>

#include "benchmark/benchmark.h"

namespace gyre::bench {

// Benchmarks that are compared with one another are named GROUP/CONTENDER. Each repetition measures
// once, and says what one operation took; the library's own count of iterations is not used, so
// that a repetition may have threads, a loop and a warm-up of its own.
//
// `measure` gives nanoseconds per operation, or a negative number: it failed.
void add_contender(const std::string& group, const std::string& contender,
                   std::function<double(benchmark::State&)> measure);

// main() of such a program: runs the benchmarks, several repetitions of each in a random order, so
// that what disturbs the machine disturbs all of them; then prints a table for each group, with the
// medians, the spread, and how many times as long as "gyre" (else: the first) each one took. The
// flags are Google Benchmark's; with another format than the console's the tables go to stderr.
int run_comparisons(int argc, char** argv);

// Binds the calling thread to a CPU: the `index`-th of those it may use, round and round. Nothing
// where the platform cannot.
void pin_to_cpu(size_t index);

// How many CPUs this process may use.
size_t usable_cpu_count();

// A deterministic source of numbers that costs a nanosecond.
class Random {
 public:
  uint64_t next() {
    state_ ^= state_ << 13;
    state_ ^= state_ >> 7;
    return state_ ^= state_ << 17;
  }
  uint64_t below(uint64_t limit) { return next() % limit; }

 private:
  uint64_t state_ = 88172645463325252;
};

}  // namespace gyre::bench

#endif  // GYRE_BENCHMARKS_COMPARISON_H_
