// The library for those who build without exceptions and RTTI: the test of the CMake package, and
// --config=noexc, compile this program and all that it is linked with so. (Elsewhere it is a small
// test of the same.) No test framework: theirs need exceptions for some of what they do. In real
// time, a few milliseconds of it, with what a user links and nothing else.

#include <chrono>
#include <cstdio>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gyre/loop/combinators.h"
#include "gyre/loop/future.h"
#include "gyre/loop/io_loop.h"
#include "gyre/loop/log.h"
#include "gyre/loop/periodic_callback.h"
#include "gyre/loop/sync.h"
#include "gyre/loop/task.h"
#include "gyre/threading/loop_pool.h"

namespace gyre {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;

Task<int> add(int a, int b) {
  co_await sleep_for(milliseconds(1));
  co_return a + b;
}

Task<int> give(std::string text) { co_return static_cast<int>(text.size()); }

// Tasks, timers, futures, combinators, locks, an executor.
Task<int> use_one_loop(IOLoop& loop) {
  int sum = co_await add(1, 2);
  Promise<int> promise;
  Future<int> future = promise.get_future();
  loop.add_callback([p = std::move(promise)]() mutable { p.set_value(4); });
  sum += co_await std::move(future);
  std::vector<Task<int>> both;
  both.push_back(add(1, 1));
  both.push_back(give("12345"));
  for (int part : co_await when_all(std::move(both))) sum += part;
  const absl::Status late =
      co_await with_timeout(milliseconds(1), []() -> Task<> { co_await sleep_for(hours(1)); }());
  GYRE_CHECK(absl::IsDeadlineExceeded(late), "with_timeout: %s", late.ToString());
  Semaphore semaphore(1);
  Semaphore::Permit permit = co_await semaphore.acquire();
  Queue<int> queue(1);
  co_await queue.put(10);
  sum += co_await queue.get();
  sum += co_await loop.run_in_executor([] { return 100; });
  co_return sum;
}

Task<bool> hop(IOLoop& there, IOLoop& back) {
  const bool arrived = co_await resume_on(there);
  const bool is_there = there.in_loop_thread();
  const bool returned = co_await resume_on(back);
  GYRE_CHECK(arrived && is_there && returned, "%d %d %d", arrived, is_there, returned);
  co_return back.in_loop_thread();
}

void run() {
  absl::StatusOr<std::unique_ptr<IOLoop>> created = IOLoop::create();
  GYRE_CHECK(created.ok(), "%s", created.status().ToString());
  IOLoop& loop = **created;
  const absl::StatusOr<int> sum = loop.run_sync([&] { return use_one_loop(loop); });
  GYRE_CHECK(sum.ok(), "%s", sum.status().ToString());
  GYRE_CHECK(*sum == 3 + 4 + 2 + 5 + 10 + 100, "%d", *sum);

  absl::StatusOr<std::unique_ptr<LoopPool>> pool = LoopPool::create({.threads = 2});
  GYRE_CHECK(pool.ok(), "%s", pool.status().ToString());
  const absl::StatusOr<bool> hopped =
      loop.run_sync([&] { return hop((*pool)->next(), loop); }, std::chrono::seconds(30));
  GYRE_CHECK(hopped.ok() && *hopped, "%s", hopped.status().ToString());

  int ticks = 0;
  PeriodicCallback periodic(
      loop,
      [&] {
        if (++ticks == 3) loop.stop();
      },
      milliseconds(1));
  periodic.start();
  GYRE_CHECK(loop.start().ok() && ticks == 3, "%d ticks", ticks);

  // A promise that dies unset is an error, which nobody can catch here; who asks first is safe.
  Future<int> broken = Promise<int>().get_future();
  GYRE_CHECK(broken.done(), "a promise that died is done");
  GYRE_CHECK(loop.close().ok() && !loop.add_callback([] {}), "a closed loop refuses");
}

}  // namespace
}  // namespace gyre

int main() {
#if defined(__cpp_exceptions)
  std::puts("compiled with exceptions; --config=noexc compiles it without");
#endif
  gyre::run();
  std::puts("ok");
}
