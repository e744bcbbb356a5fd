// The pollers themselves, each backend that is compiled in: what the kernel takes for a
// registration and for a wait, before any of gyre's own work.
//
// Measures nanoseconds a call: poller/add_remove (an fd registered and forgotten again),
// poller/modify (its interest changed), poller/wake (wake() and the wait that it ends), and
// poller/wait_1_of_100 (a wait while one of 100 pipes is readable). Baselines: the backends of one
// another, in the same run.
//
// Names: poller/modify/epoll and so on.

#include <unistd.h>

#include <array>
#include <vector>

#include "gyre/benchmarks/comparison.h"
#include "gyre/loop/poller/poller_factory.h"
#include "gyre/loop/unique_fd.h"

namespace gyre::bench {
namespace {

constexpr int kOperations = 20'000;
constexpr int kPipes = 100;
constexpr auto kNow = std::chrono::nanoseconds(0);

class PollerRound {
 public:
  explicit PollerRound(Backend backend) : poller_(create_poller(backend).value()) {
    for (int i = 0; i < kPipes; ++i) {
      std::array<int, 2> fds;
      if (::pipe(fds.data()) != 0) break;
      readers_.emplace_back(fds[0]);
      writers_.emplace_back(fds[1]);
    }
  }

  double add_remove() {
    return time_each([this] {
      add(0);
      poller_->remove(readers_[0].get()).IgnoreError();
    });
  }
  double modify() {
    add(0);
    uint32_t interest = PollEvents::kNone;
    return time_each([&] {
      interest ^= PollEvents::kRead;
      poller_->modify(readers_[0].get(), interest, 1, Trigger::kLevel).IgnoreError();
    });
  }
  double wake() {
    return time_each([this] {
      poller_->wake();
      poller_->wait(kNow);
    });
  }
  double wait_one_ready() {
    for (size_t i = 0; i < readers_.size(); ++i) add(i);
    const char byte = 'x';
    if (readers_.size() != kPipes || ::write(writers_[kPipes / 2].get(), &byte, 1) != 1) return -1;
    bool found = true;
    const double nanoseconds = time_each([&] { found &= poller_->wait(kNow).events.size() == 1; });
    return found ? nanoseconds : -1;
  }

 private:
  void add(size_t i) {
    poller_->add(readers_[i].get(), PollEvents::kRead, i, Trigger::kLevel).IgnoreError();
  }
  template <class F>
  static double time_each(F f) {
    const auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < kOperations; ++i) f();
    return std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now() - start)
               .count() /
           kOperations;
  }

  std::unique_ptr<Poller> poller_;
  std::vector<UniqueFd> readers_;
  std::vector<UniqueFd> writers_;
};

void add_backend(Backend backend) {
  const auto add = [backend](const std::string& what, double (PollerRound::*measure)()) {
    add_contender("poller/" + what, std::string(to_string(backend)),
                  [backend, measure](benchmark::State&) {
                    PollerRound round(backend);
                    return (round.*measure)();
                  });
  };
  add("add_remove", &PollerRound::add_remove);
  add("modify", &PollerRound::modify);
  add("wake", &PollerRound::wake);
  add("wait_1_of_100", &PollerRound::wait_one_ready);
}

}  // namespace
}  // namespace gyre::bench

int main(int argc, char** argv) {
  using namespace gyre::bench;
  for (const gyre::Backend backend : gyre::available_backends()) add_backend(backend);
  return run_comparisons(argc, argv);
}
