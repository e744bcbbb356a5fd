#include "gyre/tests/loop/queue_stress.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <random>
#include <thread>
#include <utility>

#include "gyre/loop/callback_queue.h"

namespace gyre::testing {
namespace {

using internal::CallbackNode;
using internal::CallbackQueue;
using internal::NodeReleaser;

constexpr int kLostAfterMilliseconds = 20'000;
constexpr uint64_t kMaxPostsPerRound = 400'000;
constexpr uint64_t kMaxInFlight = 20'000;
constexpr size_t kMaxViolations = 10;

// Writes to a number, as the loop's poller does, and does not know whose it is.
class FdWaker final : public internal::Waker {
 public:
  FdWaker() : fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}

  void wake() noexcept override {
    writes_.fetch_add(1, std::memory_order_relaxed);
    const uint64_t one = 1;
    // A failure shows: the consumer is not woken.
    [[maybe_unused]] const ssize_t written = ::write(fd_, &one, sizeof(one));
  }

  bool wait() {
    pollfd ready{.fd = fd_, .events = POLLIN, .revents = 0};
    if (::poll(&ready, 1, kLostAfterMilliseconds) != 1) return false;
    uint64_t count = 0;
    return ::read(fd_, &count, sizeof(count)) == sizeof(count);
  }

  // Ends the eventfd; from here on its number is an empty file's.
  void become_a_file() {
    const int file = ::memfd_create("not the queue's", MFD_CLOEXEC);
    ::dup3(file, fd_, O_CLOEXEC);  // closes the eventfd
    ::close(file);
  }
  int64_t file_bytes() const {
    struct stat status {};
    return ::fstat(fd_, &status) == 0 ? static_cast<int64_t>(status.st_size) : -1;
  }
  void close() { ::close(fd_); }
  uint64_t writes() const { return writes_.load(std::memory_order_relaxed); }

 private:
  const int fd_;
  std::atomic<uint64_t> writes_{0};
};

class Round {
 public:
  Round(uint64_t posts, int producers, uint32_t seed, StressReport& report)
      : posts_(posts), random_(seed), report_(report), producers_(producers) {}

  void run() {
    std::vector<std::thread> threads;
    for (size_t p = 0; p < producers_.size(); ++p) threads.emplace_back([this, p] { produce(p); });
    consume();
    waker_.become_a_file();
    for (std::thread& thread : threads) thread.join();
    check();
    waker_.close();
  }

 private:
  // On a line of its own, for its thread writes the first part all the time.
  struct alignas(64) Producer {
    uint64_t posted = 0, accepted = 0, refused = 0;  // the producer's
    alignas(64) uint64_t next = 0;                   // the consumer's: which has to come next
  };

  // A callback that notices how it ends.
  class Task {
   public:
    Task(Round& round, Producer& producer, uint64_t number)
        : round_(&round), producer_(producer), number_(number) {}
    Task(Task&& other) noexcept
        : round_(std::exchange(other.round_, nullptr)),
          producer_(other.producer_),
          number_(other.number_) {}
    Task& operator=(Task&&) = delete;
    ~Task() {
      if (round_ != nullptr) round_->destroyed(producer_, number_);
    }
    void operator()() { std::exchange(round_, nullptr)->ran(producer_, number_); }

   private:
    Round* round_;
    Producer& producer_;
    const uint64_t number_;
  };

  void produce(size_t index) {
    Producer& producer = producers_[index];
    const uint64_t posts = posts_ / producers_.size();
    while (producer.posted < posts) {
      const uint64_t number = producer.posted++;
      // The numbers of those that are queued have no gap, for after a refusal none is.
      producer.accepted += queue_->post(CallSite(), Task(*this, producer, number));
      if (number % 256 == 0) hold_back(number);
    }
    // Or the consumer would sleep on.
    if (done_.fetch_add(1, std::memory_order_acq_rel) + 1 == static_cast<int>(producers_.size()))
      queue_->request_stop();
  }

  void hold_back(uint64_t number) {
    const uint64_t ahead = number * producers_.size();
    while (!queue_->closed() && ahead > run_.load(std::memory_order_relaxed) + kMaxInFlight)
      std::this_thread::yield();
  }

  void consume() {
    consumer_ = std::this_thread::get_id();
    // Often in the midst of the posts, now and then after them.
    const uint64_t close_after = random_() % (posts_ + posts_ / 4 + 1);
    while (!lost_ && run_.load(std::memory_order_relaxed) < close_after && !finished()) {
      run_batch();
      if (!queue_->stop_requested() && !queue_->has_work() && queue_->prepare_to_sleep()) sleep();
    }
    queue_->close();
  }

  bool finished() {
    return done_.load(std::memory_order_acquire) == static_cast<int>(producers_.size()) &&
           !queue_->has_work();
  }

  void run_batch() {
    queue_->begin_batch();
    NodeReleaser releaser;
    uint64_t count = 0;
    for (CallbackNode* node; (node = queue_->pop()) != nullptr; ++count) {
      node->run_and_destroy();
      queue_->release(node, releaser);
    }
    queue_->finish_batch();
    run_.store(run_.load(std::memory_order_relaxed) + count, std::memory_order_relaxed);
    report_.run += count;
  }

  void sleep() {
    ++report_.sleeps;
    // Some sleeps end by something else at once.
    lost_ = random_() % 4 != 0 && !waker_.wait();
    if (lost_) violation("a wake-up was lost");
    woken_ += queue_->finish_sleep();
  }

  void ran(Producer& producer, uint64_t number) { came_out(producer, number); }
  void destroyed(Producer& producer, uint64_t number) {
    if (std::this_thread::get_id() != consumer_.load(std::memory_order_relaxed)) {
      ++producer.refused;
      return;
    }
    ++report_.discarded;
    came_out(producer, number);
  }
  void came_out(Producer& producer, uint64_t number) {
    if (number != producer.next++) violation("a producer's posts came out in another order");
  }

  void check() {
    for (const Producer& producer : producers_) {
      if (producer.accepted != producer.next) violation("post said true, and it did not come out");
      if (producer.accepted + producer.refused != producer.posted)
        violation("post said false, and the callback was not destroyed");
      report_.posts += producer.posted;
      report_.refused += producer.refused;
    }
    if (waker_.writes() != woken_ && !lost_)
      violation(std::to_string(waker_.writes()) + " wake-ups for " + std::to_string(woken_) +
                " sleeps that were ended");
    report_.woken += woken_;
    if (waker_.file_bytes() != 0) violation("a file that got the wake fd's number was written to");
  }

  void violation(std::string what) {
    if (report_.violations.size() < kMaxViolations) report_.violations.push_back(std::move(what));
  }

  const uint64_t posts_;
  std::minstd_rand random_;
  StressReport& report_;
  FdWaker waker_;
  const std::unique_ptr<CallbackQueue> queue_ = std::make_unique<CallbackQueue>(waker_);
  std::vector<Producer> producers_;
  std::atomic<std::thread::id> consumer_;
  std::atomic<uint64_t> run_{0};
  std::atomic<int> done_{0};
  uint64_t woken_ = 0;
  bool lost_ = false;
};

}  // namespace

StressReport stress_queue(const StressOptions& options) {
  using Clock = std::chrono::steady_clock;
  const Clock::time_point begin = Clock::now();
  StressReport report;
  std::minstd_rand random(options.seed);
  while (report.posts < options.posts && report.violations.empty()) {
    if (options.limit.count() > 0 && Clock::now() - begin > options.limit) break;
    // Short rounds are mostly about the close, long ones about the sleeps.
    const uint64_t most = random() % 4 == 0 ? kMaxPostsPerRound : 2000;
    const auto producers = static_cast<uint64_t>(options.producers);
    const uint64_t left = options.posts - report.posts;
    const uint64_t posts = std::max(std::min(random() % most + 1, left), producers);
    Round(posts, options.producers, static_cast<uint32_t>(random()), report).run();
    ++report.rounds;
    if (options.progress) options.progress(report);
  }
  return report;
}

}  // namespace gyre::testing
