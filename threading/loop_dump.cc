#include "gyre/threading/loop_dump.h"

#include <algorithm>
#include <condition_variable>
#include <memory>
#include <optional>
#include <vector>

#include "absl/strings/str_format.h"
#include "gyre/loop/mutex.h"

namespace gyre {
namespace {

using std::chrono::steady_clock;

// How often it looks whether those that it waits for still run.
constexpr std::chrono::milliseconds kLook(10);

// What the loops have said so far. Shared with those that answer too late.
class Answers {
 public:
  explicit Answers(size_t count) : texts_(count) {}

  void set(size_t index, std::string text) {
    internal::MutexLock lock(mutex_);
    texts_[index] = std::move(text);
    changed_.notify_all();
  }

  std::optional<std::string> get(size_t index) {
    internal::MutexLock lock(mutex_);
    return texts_[index];
  }

  // Returns when it has come; at `end`, or after kLook, without it.
  void wait(size_t index, steady_clock::time_point end) {
    const auto look = std::min(end, steady_clock::now() + kLook);
    internal::MutexLock lock(mutex_);
    while (!texts_[index].has_value()) {
      if (changed_.wait_until(mutex_, look) == std::cv_status::timeout) return;
    }
  }

 private:
  internal::Mutex mutex_;
  std::condition_variable_any changed_;
  std::vector<std::optional<std::string>> texts_ ABSL_GUARDED_BY(mutex_);
};

void ask(IOLoop& loop, size_t index, const std::shared_ptr<Answers>& answers) {
  if (loop.in_loop_thread()) return answers->set(index, loop.dump());
  if (!loop.running()) return;
  // false: it is closed, which activity() says.
  loop.add_callback([&loop, index, answers] { answers->set(index, loop.dump()); });
}

bool is_awaited(const IOLoop& loop, size_t index, Answers& answers) {
  return loop.running() && !answers.get(index).has_value();
}

std::string no_answer(const IOLoop& loop, std::chrono::nanoseconds limit) {
  if (loop.closed() || !loop.running()) return loop.activity() + "\n";
  return absl::StrFormat("%s\n  no answer within %.3f s\n", loop.activity(),
                         std::chrono::duration<double>(limit).count());
}

}  // namespace

std::string dump_loops(std::span<IOLoop* const> loops, std::chrono::nanoseconds limit) {
  const auto answers = std::make_shared<Answers>(loops.size());
  const auto end = internal::saturating_add(steady_clock::now(), limit);
  // Those elsewhere first, so that they write while this thread does.
  for (const bool here : {false, true}) {
    for (size_t i = 0; i < loops.size(); ++i) {
      if (loops[i]->in_loop_thread() == here) ask(*loops[i], i, answers);
    }
  }
  for (size_t i = 0; i < loops.size(); ++i) {
    while (is_awaited(*loops[i], i, *answers) && steady_clock::now() < end) answers->wait(i, end);
  }
  std::string text;
  for (size_t i = 0; i < loops.size(); ++i) {
    const std::optional<std::string> answer = answers->get(i);
    text += answer.has_value() ? *answer : no_answer(*loops[i], limit);
  }
  return text;
}

}  // namespace gyre
