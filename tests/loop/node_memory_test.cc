// Allocations by posts, counted: none in the steady state for what fits a node, whatever threads
// post and run; one for what does not.

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>
#include <thread>
#include <type_traits>

#include "gtest/gtest.h"
#include "gyre/loop/callback_queue.h"

namespace {
std::atomic<uint64_t> allocations{0};

void* counted(size_t bytes) {
  allocations.fetch_add(1, std::memory_order_relaxed);
  void* memory = std::malloc(bytes == 0 ? 1 : bytes);
  if (memory == nullptr) std::abort();
  return memory;
}
}  // namespace

void* operator new(size_t bytes) { return counted(bytes); }
void* operator new[](size_t bytes) { return counted(bytes); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, size_t) noexcept { std::free(memory); }

namespace gyre::internal {
namespace {

class NoWaker final : public Waker {
 public:
  void wake() noexcept override {}
};

// Of as many bytes as a node holds, and move-only.
template <size_t bytes>
class Callable {
 public:
  explicit Callable(uint64_t& sum) : sum_(&sum) {}
  Callable(Callable&&) = default;
  Callable& operator=(Callable&&) = default;
  void operator()() { *sum_ += rest_[0]; }

 private:
  uint64_t* sum_;
  std::array<std::byte, bytes - 2 * sizeof(uint64_t)> filling_{};
  std::array<uint64_t, 1> rest_ = {1};
};
using Small = Callable<24>;
using Full = Callable<CallbackNode::kMaxInlineBytes>;
using Large = Callable<CallbackNode::kMaxInlineBytes + 8>;
static_assert(sizeof(Small) == 24 && sizeof(Full) == 48 && sizeof(Large) == 56);
static_assert(!std::is_copy_constructible_v<Full>);

// The chunks of the arena that nodes came from.
class Chunks {
 public:
  void see(const void* node) {
    const uintptr_t chunk = reinterpret_cast<uintptr_t>(node) / NodeArena::kChunkBytes;
    for (size_t i = 0; i < count_; ++i) {
      if (seen_[i] == chunk) return;
    }
    if (count_ < seen_.size()) seen_[count_++] = chunk;
  }
  size_t count() const { return count_; }

 private:
  std::array<uintptr_t, 512> seen_{};
  size_t count_ = 0;
};

class NodeMemory : public ::testing::Test {
 protected:
  ~NodeMemory() override {
    queue_->close();
    CallbackQueue::set_running(nullptr);
  }

  template <class F>
  void post(int times) {
    for (int i = 0; i < times; ++i) EXPECT_TRUE(queue_->post(CallSite(), F(sum_)));
  }
  int run_batch() {
    queue_->begin_batch();
    NodeReleaser releaser;
    int count = 0;
    for (CallbackNode* node; (node = queue_->pop()) != nullptr; ++count) {
      chunks_.see(node);
      node->run_and_destroy();
      queue_->release(node, releaser);
    }
    queue_->finish_batch();
    return count;
  }

  // What this many rounds of the callable's posts allocate, once some have gone before.
  template <class F>
  uint64_t allocations_here(int rounds, int posts) {
    for (int i = 0; i < 20; ++i) {
      post<F>(posts);
      run_batch();
    }
    const uint64_t before = allocations;
    for (int i = 0; i < rounds; ++i) {
      post<F>(posts);
      run_batch();
    }
    return allocations - before;
  }

  // The same with the posts in a thread that does nothing else; this one runs them.
  template <class F>
  uint64_t allocations_between_threads(int rounds, int posts) {
    std::atomic<int> wanted{0}, posted{0};
    const int warm_up = 20;
    std::thread producer([&] {
      for (int i = 1; i <= rounds + warm_up; ++i) {
        while (wanted.load(std::memory_order_acquire) < i) std::this_thread::yield();
        post<F>(posts);
        posted.store(i, std::memory_order_release);
      }
    });
    uint64_t before = 0;
    for (int i = 1; i <= rounds + warm_up; ++i) {
      if (i == warm_up + 1) before = allocations;
      wanted.store(i, std::memory_order_release);
      for (int ran = 0; ran < posts;) {
        const int count = run_batch();
        ran += count;
        if (count == 0) std::this_thread::yield();
      }
    }
    const uint64_t result = allocations - before;
    producer.join();
    return result;
  }

  NoWaker waker_;
  // On the heap: AddressSanitizer's stack of gcc 12 does not align as the queue asks.
  const std::unique_ptr<CallbackQueue> queue_ = std::make_unique<CallbackQueue>(waker_);
  uint64_t sum_ = 0;
  Chunks chunks_;
};

TEST_F(NodeMemory, PostsOfTheLoopsOwnThreadAllocateNothing) {
  CallbackQueue::set_running(queue_.get());
  EXPECT_EQ(allocations_here<Small>(200, 500), 0u);
  EXPECT_EQ(allocations_here<Full>(200, 500), 0u);
  EXPECT_EQ(sum_, 2u * 220 * 500);
  EXPECT_LT(chunks_.count(), 64u) << "of " << 220 * 500 * 2 / 100 << " that as many nodes fill";
}

TEST_F(NodeMemory, PostsThatTakeTheOtherThreadsWayAllocateNothing) {
  EXPECT_EQ(allocations_here<Full>(200, 500), 0u);
}

TEST_F(NodeMemory, AThreadThatOnlyPostsAndOneThatOnlyRunsAllocateNothingAndStayBounded) {
  // Guards against a cache that fills up at the one, and is empty at the other.
  EXPECT_EQ(allocations_between_threads<Small>(400, 500), 0u);
  EXPECT_EQ(allocations_between_threads<Full>(400, 500), 0u);
  EXPECT_EQ(sum_, 2u * 420 * 500);
  EXPECT_LT(chunks_.count(), 64u) << "of more than 4000 that as many nodes fill";
}

TEST_F(NodeMemory, ALargerCallableIsOneAllocation) {
  EXPECT_EQ(allocations_here<Large>(20, 500), 20u * 500);
  EXPECT_EQ(allocations_between_threads<Large>(20, 500), 20u * 500);
  CallbackQueue::set_running(queue_.get());
  EXPECT_EQ(allocations_here<Large>(20, 500), 20u * 500);
}

}  // namespace
}  // namespace gyre::internal
