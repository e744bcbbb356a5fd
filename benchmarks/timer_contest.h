#ifndef GYRE_BENCHMARKS_TIMER_CONTEST_H_
#define GYRE_BENCHMARKS_TIMER_CONTEST_H_

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>

#include "gyre/benchmarks/allocation_count.h"
#include "gyre/benchmarks/comparison.h"

namespace gyre::bench {

// What a contender has:
//
//   Timers(size_t count, int64_t* fired);          `count` timers, numbered; none is armed
//   void arm(size_t i, std::chrono::nanoseconds);  it counts one up in *fired when it is due
//   void rearm(size_t i, std::chrono::nanoseconds) of one that is armed
//   void cancel(size_t i);
//   void run(int64_t fires);                       runs the loop until so many fired
//   static constexpr bool kPrecise;                false: too coarse to be asked to fire

using TimerClock = std::chrono::steady_clock;

template <class Timers>
class TimerRound {
 public:
  // Timers that are armed for some time from 100 s to 600 s from now, and never fire.
  explicit TimerRound(size_t count) : count_(count), timers_(count + 1, &fired_) {
    for (size_t i = 0; i < count; ++i) timers_.arm(i, far_away());
  }

  double rearm_random() {
    return time_each([this] { timers_.rearm(any(), far_away()); });
  }
  // As timeouts are used: each of them is put off by the same time.
  double rearm_constant() {
    return time_each([this] { timers_.rearm(any(), std::chrono::seconds(60)); });
  }
  double add_cancel() {
    return time_each([this] {
      timers_.arm(count_, far_away());
      timers_.cancel(count_);
    });
  }

 private:
  static constexpr int kOperations = 200'000;

  template <class F>
  static double time_each(F f) {
    for (int i = 0; i < kOperations / 2; ++i) f();
    const TimerClock::time_point start = TimerClock::now();
    for (int i = 0; i < kOperations; ++i) f();
    return std::chrono::duration<double, std::nano>(TimerClock::now() - start).count() /
           kOperations;
  }
  std::chrono::nanoseconds far_away() {
    return std::chrono::seconds(100) + std::chrono::nanoseconds(random_.below(500'000'000'000));
  }
  size_t any() { return random_.below(count_); }

  const size_t count_;
  int64_t fired_ = 0;
  Random random_;
  Timers timers_;
};

// All of `count` timers are due, in an order that is not that of their making.
template <class Timers>
double fire_all(size_t count) {
  int64_t fired = 0;
  Random random;
  auto timers = std::make_unique<Timers>(count, &fired);
  for (size_t i = 0; i < count; ++i) {
    timers->arm(i, std::chrono::nanoseconds(1'000'000 + random.below(100'000'000)));
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(102));
  const TimerClock::time_point start = TimerClock::now();
  timers->run(static_cast<int64_t>(count));
  if (fired != static_cast<int64_t>(count)) return -1;
  return std::chrono::duration<double, std::nano>(TimerClock::now() - start).count() /
         static_cast<double>(count);
}

template <class Timers>
void add_timer_contender(const std::string& name) {
  for (const size_t count : {size_t{1000}, size_t{100'000}, size_t{1'000'000}}) {
    const std::string size = "/timers:" + std::to_string(count) + "/";
    const auto add = [&](const char* what, double (TimerRound<Timers>::*measure)()) {
      add_contender("timer/" + (what + size.substr(0, size.size() - 1)), name,
                    [count, measure](benchmark::State& state) {
                      const AllocatedBytes before;
                      TimerRound<Timers> round(count);
                      if (const auto bytes = before.growth()) {
                        state.counters["bytes_per_timer"] =
                            static_cast<double>(*bytes) / static_cast<double>(count);
                      }
                      pin_to_cpu(0);
                      return (round.*measure)();
                    });
    };
    add("rearm_random", &TimerRound<Timers>::rearm_random);
    add("rearm_constant", &TimerRound<Timers>::rearm_constant);
    if (count == 100'000) add("add_cancel", &TimerRound<Timers>::add_cancel);
  }
  if constexpr (Timers::kPrecise) {
    add_contender("timer/fire/timers:1000000", name,
                  [](benchmark::State&) { return fire_all<Timers>(1'000'000); });
  }
}

}  // namespace gyre::bench

#endif  // GYRE_BENCHMARKS_TIMER_CONTEST_H_
