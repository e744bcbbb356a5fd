#ifndef GYRE_TESTS_LOOP_QUEUE_STRESS_H_
#define GYRE_TESTS_LOOP_QUEUE_STRESS_H_

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace gyre::testing {

struct StressOptions {
  uint64_t posts = 10'000'000;  // of all producers together, refused ones included
  int producers = 3;
  // Ends with the round that is going on then. Zero: no limit.
  std::chrono::seconds limit{0};
  uint32_t seed = 1;
  // Called after each round.
  std::function<void(const struct StressReport&)> progress = nullptr;
};

struct StressReport {
  uint64_t posts = 0;
  uint64_t run = 0;
  uint64_t discarded = 0;  // by close
  uint64_t refused = 0;
  uint64_t sleeps = 0;  // of which producers ended `woken`, with as many wake-ups
  uint64_t woken = 0;
  uint64_t rounds = 0;
  std::vector<std::string> violations;  // the first few
};

// Posts through a CallbackQueue whose consumer sleeps on an eventfd(2), in rounds; in each, the
// consumer closes the queue while the producers post, closes the eventfd, and lets a file have its
// number. Looks for: a producer's posts out of order, lost or run twice; a post whose bool is not
// the truth; a wake-up too few or too many; and bytes in that file.
StressReport stress_queue(const StressOptions& options);

}  // namespace gyre::testing

#endif  // GYRE_TESTS_LOOP_QUEUE_STRESS_H_
