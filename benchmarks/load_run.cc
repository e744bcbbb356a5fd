#include "gyre/benchmarks/load_run.h"

#include <algorithm>
#include <utility>

namespace gyre::benchmarks {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// After the last request is sent, so long is waited for the answers.
constexpr seconds kAnswerDeadline(10);
constexpr seconds kConnectDeadline(60);

}  // namespace

LoadRun::LoadRun(IOLoop& loop, LoopPool& pool, const LoadOptions& options, int connections,
                 LoadTimes times)
    : loop_(loop), times_(times), pattern_(options.request_bytes) {
  const int threads = static_cast<int>(pool.size());
  for (int i = 0; i < threads; ++i) {
    const int share = connections / threads + (i < connections % threads ? 1 : 0);
    workers_.push_back(std::make_unique<LoadWorker>(pool.loop(i), options, pattern_, share));
    loops_.push_back(&pool.loop(i));
  }
}

Task<LoadResult> LoadRun::run(const std::atomic<bool>& interrupted) {
  const bool connected = co_await ask_all(
      kConnectDeadline,
      [](LoadWorker& worker, std::function<void()> done) { worker.connect(std::move(done)); },
      &interrupted);
  if (connected) {
    begin([](LoadWorker& worker) { worker.start_sending(); });
    co_await wait(times_.warm_up, interrupted);
    begin([](LoadWorker& worker) { worker.start_measuring(); });
    if (on_window_begin) on_window_begin();
    const IOLoop::TimePoint begun = loop_.time();
    co_await wait(times_.window, interrupted);
    measured_ = loop_.time() - begun;
    if (on_window_end) on_window_end();
    co_await ask_all(
        kAnswerDeadline,
        [](LoadWorker& worker, std::function<void()> done) {
          worker.stop_sending(std::move(done));
        },
        nullptr);
  }
  co_return co_await collect();
}

uint64_t LoadRun::connected() const {
  uint64_t connected = 0;
  for (const std::unique_ptr<LoadWorker>& worker : workers_) connected += worker->connected();
  return connected;
}

uint64_t LoadRun::answers() const {
  uint64_t answers = 0;
  for (const std::unique_ptr<LoadWorker>& worker : workers_) answers += worker->answers();
  return answers;
}

void LoadRun::begin(void (*what)(LoadWorker&)) {
  for (size_t i = 0; i < workers_.size(); ++i) {
    loops_[i]->add_callback([worker = workers_[i].get(), what] { what(*worker); });
  }
}

// Asks every worker, and waits until all have answered. False: not in time.
Task<bool> LoadRun::ask_all(IOLoop::Duration deadline, Question question,
                            const std::atomic<bool>* interrupted) {
  auto answers = std::make_shared<std::atomic<size_t>>(0);
  for (size_t i = 0; i < workers_.size(); ++i) {
    loops_[i]->add_callback([worker = workers_[i].get(), question, answers] {
      question(*worker, [answers] { answers->fetch_add(1); });
    });
  }
  const IOLoop::TimePoint end = loop_.time() + deadline;
  while (answers->load() < workers_.size()) {
    if (loop_.time() > end || (interrupted != nullptr && interrupted->load())) co_return false;
    show_progress();
    co_await sleep_for(milliseconds(2));
  }
  co_return true;
}

Task<void> LoadRun::wait(IOLoop::Duration duration, const std::atomic<bool>& interrupted) {
  const IOLoop::TimePoint end = loop_.time() + duration;
  while (loop_.time() < end && !interrupted.load()) {
    show_progress();
    co_await sleep_for(std::min<IOLoop::Duration>(milliseconds(50), end - loop_.time()));
  }
}

Task<LoadResult> LoadRun::collect() {
  LoadResult total;
  for (size_t i = 0; i < workers_.size(); ++i) {
    // The coroutine goes to the worker's loop and back.
    if (!co_await resume_on(*loops_[i])) continue;
    LoadResult result = workers_[i]->finish();
    co_await resume_on(loop_);
    total.merge(result);
  }
  co_return total;
}

}  // namespace gyre::benchmarks
