#include "gyre/tests/support/loop_fixture.h"

#include <algorithm>
#include <functional>
#include <utility>

#include "gyre/loop/poller/poller_factory.h"
#include "gyre/tests/support/kqueue_backend.h"

namespace gyre::testing {

std::vector<Backend> all_backends() {
  const std::vector<Backend> system = available_backends();
  if (std::find(system.begin(), system.end(), Backend::kKqueue) == system.end()) {
    internal::replace_backend(Backend::kKqueue, &create_kqueue_poller);
  }
  return available_backends();
}

LoopTest::LoopTest() {
  IOLoop::clear_current();
  loop_ = make_loop("test");
}

LoopTest::~LoopTest() {
  loop_.reset();
  IOLoop::clear_current();
}

std::unique_ptr<IOLoop> LoopTest::make_loop(std::string name) {
  IOLoopOptions options;
  options.name = std::move(name);
  options.time_slice = std::chrono::hours(1);
  return make_loop(std::move(options));
}

std::unique_ptr<IOLoop> LoopTest::make_loop(IOLoopOptions options) {
  options.backend = GetParam();
  if (!options.make_current.has_value()) options.make_current = false;
  absl::StatusOr<std::unique_ptr<IOLoop>> loop = IOLoop::create(std::move(options));
  EXPECT_TRUE(loop.ok()) << loop.status();
  return loop.ok() ? std::move(*loop) : nullptr;
}

void LoopTest::run(IOLoop& loop) {
  // On a thread of its own: the loop's clock may be a manual one.
  Event returned;
  std::thread watchdog([&] {
    if (returned.wait()) return;
    ADD_FAILURE() << "nobody stopped the loop";
    loop.stop();
  });
  const absl::Status status = loop.start();
  returned.set();
  watchdog.join();
  EXPECT_TRUE(status.ok()) << status;
}

void LoopTest::run_turns(IOLoop& loop, int polls) {
  std::function<void()> turn = [&] {
    if (polls-- > 0) {
      loop.add_callback(turn);
    } else {
      loop.stop();
    }
  };
  loop.add_callback(turn);
  run(loop);
}

LoopInThread::LoopInThread(IOLoop& loop) : loop_(loop) {
  auto running = std::make_shared<Event>();
  loop.add_callback([running] { running->set(); });
  thread_ = std::thread([&loop] {
    const absl::Status status = loop.start();
    EXPECT_TRUE(status.ok()) << status;
  });
  EXPECT_TRUE(running->wait());
}

void LoopInThread::stop() {
  if (!thread_.joinable()) return;
  loop_.stop();
  thread_.join();
}

}  // namespace gyre::testing
