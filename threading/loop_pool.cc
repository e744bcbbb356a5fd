#include "gyre/threading/loop_pool.h"

#include <utility>

#include "absl/strings/str_format.h"
#include "gyre/loop/log.h"
#include "gyre/threading/cpu_affinity.h"

namespace gyre {

absl::StatusOr<std::unique_ptr<LoopPool>> LoopPool::create(LoopPoolOptions options) {
  if (options.threads < 0) {
    return absl::InvalidArgumentError(
        absl::StrFormat("a pool of %d threads: 0 is one for each CPU", options.threads));
  }
  const int count = options.threads > 0 ? options.threads : usable_cpus();
  const std::vector<int> cpus = options.pin_cpus ? affinity_mask() : std::vector<int>();
  if (options.pin_cpus && cpus.empty()) {
    return absl::UnimplementedError("pin_cpus: threads cannot be bound to CPUs on this platform");
  }
  std::unique_ptr<LoopPool> pool(new LoopPool);
  pool->make_loop_ = options.make_loop;
  for (int i = 0; i < count; ++i) {
    LoopThreadOptions thread;
    thread.name = absl::StrFormat("%s-%d", options.name, i);
    thread.backend = options.backend;
    thread.spin = options.spin;
    thread.make_loop = options.make_loop;
    if (options.pin_cpus) thread.cpu = cpus[i % cpus.size()];
    absl::StatusOr<std::unique_ptr<LoopThread>> created = LoopThread::create(std::move(thread));
    if (!created.ok()) return created.status();  // the destructor ends those that run
    pool->threads_.push_back(std::move(*created));
  }
  return pool;
}

LoopPool::~LoopPool() {
  stop();
  join();
}

IOLoop& LoopPool::loop(size_t i) {
  GYRE_CHECK(i < size(), "loop %d of a pool of %d", i, size());
  return threads_[i]->loop();
}

const IOLoop& LoopPool::loop(size_t i) const { return const_cast<LoopPool*>(this)->loop(i); }

std::string LoopPool::dump(std::chrono::nanoseconds limit) const {
  std::vector<IOLoop*> loops;
  for (const std::unique_ptr<LoopThread>& thread : threads_) loops.push_back(&thread->loop());
  return dump_loops(loops, limit);
}

IOLoop& LoopPool::next() {
  return threads_[next_.fetch_add(1, std::memory_order_relaxed) % threads_.size()]->loop();
}

void LoopPool::for_each(absl::AnyInvocable<void(IOLoop&) const> f) {
  auto shared = std::make_shared<const absl::AnyInvocable<void(IOLoop&) const>>(std::move(f));
  for (const std::unique_ptr<LoopThread>& thread : threads_) {
    IOLoop& loop = thread->loop();
    loop.add_callback([shared, &loop] { (*shared)(loop); });
  }
}

void LoopPool::stop() {
  for (const std::unique_ptr<LoopThread>& thread : threads_) thread->stop();
  internal::MutexLock lock(mutex_);
  stopped_ = true;
  stopped_changed_.notify_all();
}

void LoopPool::join() {
  for (const std::unique_ptr<LoopThread>& thread : threads_) {
    GYRE_CHECK(
        !thread->loop().in_loop_thread(),
        "a thread of the pool joins it, in a callback of loop \"%s\": it would wait for itself",
        thread->loop().name());
  }
  {
    internal::MutexLock lock(mutex_);
    while (!stopped_) stopped_changed_.wait(mutex_);
  }
  internal::MutexLock lock(join_mutex_);
  for (const std::unique_ptr<LoopThread>& thread : threads_) thread->join();
}

}  // namespace gyre
