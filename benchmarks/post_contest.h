#ifndef GYRE_BENCHMARKS_POST_CONTEST_H_
#define GYRE_BENCHMARKS_POST_CONTEST_H_

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <semaphore>
#include <string>
#include <thread>
#include <vector>

#include "gyre/benchmarks/allocation_count.h"
#include "gyre/benchmarks/comparison.h"

namespace gyre::bench {

// What a contender has, beside a default constructor:
//
//   void prepare(int producers, int posts);  before anything runs; `posts` a producer in a round
//   void enter(int producer);                in the producer's thread, before each round
//   template <class F> void post(F f);       from any thread
//   void run();                              in a thread of its own, until stop()
//   void stop();                             from another thread

using BenchClock = std::chrono::steady_clock;

inline double nanoseconds_since(BenchClock::time_point start) {
  return std::chrono::duration<double, std::nano>(BenchClock::now() - start).count();
}

// Counts the callbacks of a round, and takes the time of the last one.
class Sink {
 public:
  void expect(int64_t calls) { missing_ = calls; }
  void hit() {
    if (--missing_ > 0) return;
    last_ = BenchClock::now();
    done_.release();
  }
  bool wait() { return done_.try_acquire_for(std::chrono::seconds(60)); }
  BenchClock::time_point last() const { return last_; }

 private:
  int64_t missing_ = 0;
  BenchClock::time_point last_;
  std::binary_semaphore done_{0};
};

// A callable of `bytes`, the sink's address among them.
template <size_t bytes>
struct Payload {
  Sink* sink;
  std::array<uint64_t, bytes / sizeof(uint64_t) - 1> rest;
  void operator()() { sink->hit(); }
};

// `producers` threads post at the same time to a loop in a thread of its own.
template <class Loop, size_t bytes>
class PostRound {
 public:
  PostRound(int producers, int posts) : producers_(producers), posts_(posts) {
    loop_->prepare(producers, posts);
    consumer_ = std::thread([this] {
      if (producers_ == 1) pin_to_cpu(0);
      loop_->run();
    });
  }
  ~PostRound() {
    loop_->stop();
    consumer_.join();
  }

  // Nanoseconds a callback, from the first post to the end of the last callback; negative if they
  // did not all run.
  double run() {
    std::atomic<int> ready{0};
    std::atomic<bool> go{false};
    sink_.expect(int64_t{producers_} * posts_);
    std::vector<std::thread> threads;
    for (int i = 0; i < producers_; ++i) {
      threads.emplace_back([&, i] {
        if (producers_ == 1) pin_to_cpu(1);
        loop_->enter(i);
        ready.fetch_add(1);
        while (!go.load(std::memory_order_acquire)) std::this_thread::yield();
        for (int n = 0; n < posts_; ++n) {
          loop_->post(Payload<bytes>{&sink_, {static_cast<uint64_t>(n)}});
        }
      });
    }
    while (ready.load() < producers_) std::this_thread::yield();
    const BenchClock::time_point start = BenchClock::now();
    go.store(true, std::memory_order_release);
    for (std::thread& thread : threads) thread.join();
    if (!sink_.wait()) return -1;
    return std::chrono::duration<double, std::nano>(sink_.last() - start).count() / producers_ /
           posts_;
  }

 private:
  const int producers_;
  const int posts_;
  std::unique_ptr<Loop> loop_ = std::make_unique<Loop>();
  std::thread consumer_;
  // On a line of its own: each callback writes it, and the producers read what is above.
  alignas(64) Sink sink_;
};

// Two loops in threads of their own; a callback on one posts a callback to the other.
template <class Loop>
class RoundTrips {
 public:
  RoundTrips(size_t cpu_a, size_t cpu_b) {
    a_->prepare(3, kSpareNodes);
    b_->prepare(3, kSpareNodes);
    threads_[0] = std::thread([this, cpu_a] { run(*a_, 0, cpu_a); });
    threads_[1] = std::thread([this, cpu_b] { run(*b_, 1, cpu_b); });
  }
  ~RoundTrips() {
    a_->stop();
    b_->stop();
    for (std::thread& thread : threads_) thread.join();
  }

  // Nanoseconds from a post to b until b's answer runs on a.
  double run(int trips) {
    left_ = trips;
    const BenchClock::time_point start = BenchClock::now();
    a_->enter(2);
    a_->post([this] { arrive(); });
    if (!done_.try_acquire_for(std::chrono::seconds(60))) return -1;
    return nanoseconds_since(start) / trips;
  }

 private:
  static constexpr int kSpareNodes = 4;

  void run(Loop& loop, int producer, size_t cpu) {
    pin_to_cpu(cpu);
    loop.enter(producer);
    loop.run();
  }
  void arrive() {
    if (left_-- == 0) return done_.release();
    b_->post([this] { a_->post([this] { arrive(); }); });
  }

  int left_ = 0;
  std::binary_semaphore done_{0};
  std::unique_ptr<Loop> a_ = std::make_unique<Loop>();
  std::unique_ptr<Loop> b_ = std::make_unique<Loop>();
  std::thread threads_[2];
};

// ---- Registration, of a contender in every group

constexpr int kPostsPerProducer = 500'000;
constexpr int kRoundTrips = 4000;

template <class Loop, size_t bytes>
void add_post_contender(const std::string& name, int producers) {
  const std::string group =
      "post/" + std::to_string(bytes) + "B/producers:" + std::to_string(producers);
  add_contender(group, name, [producers](benchmark::State& state) {
    PostRound<Loop, bytes> round(producers, kPostsPerProducer);
    if (round.run() < 0) return -1.0;  // until every pool has the size that it keeps
    const double nanoseconds = round.run();
    AllocationCount count;
    if (round.run() < 0) return -1.0;
    if (const auto allocations = count.get()) {
      // Less those of the round itself: its threads and their list.
      const double posts = static_cast<double>(producers) * kPostsPerProducer;
      state.counters["allocations_per_post"] = static_cast<double>(*allocations) / posts;
    }
    return nanoseconds;
  });
}

template <class Loop>
void add_post_contender(const std::string& name) {
  for (int producers : {1, 2, 4}) {
    add_post_contender<Loop, 16>(name, producers);
    add_post_contender<Loop, 48>(name, producers);
  }
}

template <class Loop>
void add_round_trip_contender(const std::string& name) {
  for (const bool cross : {true, false}) {
    const std::string group = cross ? "round_trip/two_cpus" : "round_trip/one_cpu";
    add_contender(group, name, [cross](benchmark::State&) {
      RoundTrips<Loop> trips(0, cross ? 1 : 0);
      if (trips.run(kRoundTrips / 10) < 0) return -1.0;
      return trips.run(kRoundTrips);
    });
  }
}

}  // namespace gyre::bench

#endif  // GYRE_BENCHMARKS_POST_CONTEST_H_
