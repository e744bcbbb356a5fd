// NodeArena, CallbackNode and CallSite.

#include "gyre/loop/callback_node.h"

#include <array>
#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <random>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "gyre/loop/call_site.h"
#include "gyre/loop/node_arena.h"
#include "gyre/tests/support/on_destroy.h"

namespace gyre::internal {
namespace {

using ::testing::ElementsAre;
using ::testing::EndsWith;
using testing::OnDestroy;

// ---- CallSite

TEST(CallSite, SaysWhereItWasMade) {
  const CallSite here = CallSite::current();
  const std::string expected = "callback_node_test.cc:" + std::to_string(__LINE__ - 1);
  EXPECT_TRUE(here.known());
  EXPECT_THAT(here.to_string(), EndsWith(expected));
  EXPECT_FALSE(CallSite().known());
  EXPECT_EQ(CallSite().to_string(), "unknown");
}

TEST(CallSite, SurvivesItsWordWithTheTopBitsTaken) {
  const CallSite here = CallSite::current();
  const CallSite again = CallSite::from_word(here.word() | uint64_t{3} << 62);
  EXPECT_EQ(again.to_string(), here.to_string());
  EXPECT_EQ(here.word() >> 62, 0u);
}

TEST(CallSite, CutsALineThatIsTooLarge) {
  static const char kFile[] = "file";
  EXPECT_EQ(CallSite::current(kFile, 16383).line(), 16383u);
  EXPECT_EQ(CallSite::current(kFile, 16384).line(), 16383u);
  EXPECT_EQ(CallSite::current(kFile, UINT32_MAX).line(), 16383u);
  EXPECT_EQ(CallSite::current(kFile, 1).file(), kFile);
}

// ---- NodeArena

TEST(NodeArena, NodesAreAlignedAndDistinct) {
  std::set<char*> begins;
  std::vector<void*> nodes;
  for (size_t i = 0; i < 1000; ++i) {
    const size_t bytes = 1 + i % NodeArena::kMaxNodeBytes;
    auto* node = static_cast<char*>(NodeArena::allocate(bytes));
    EXPECT_EQ(reinterpret_cast<uintptr_t>(node) % NodeArena::kAlignment, 0u);
    std::fill(node, node + bytes, static_cast<char>(i));
    nodes.push_back(node);
    begins.insert(node);
  }
  EXPECT_EQ(begins.size(), nodes.size());
  for (size_t i = 0; i < nodes.size(); ++i) {
    const size_t bytes = 1 + i % NodeArena::kMaxNodeBytes;
    for (size_t b = 0; b < bytes; ++b)
      ASSERT_EQ(static_cast<char*>(nodes[i])[b], static_cast<char>(i));
  }
  for (void* node : nodes) NodeArena::release_one(node);
}

TEST(NodeArena, AThreadThatGivesBackWhatItTookUsesNoMoreMemory) {
  std::set<void*> seen;
  for (int i = 0; i < 10000; ++i) {
    void* a = NodeArena::allocate(64);
    void* b = NodeArena::allocate(64);
    seen.insert({a, b});
    NodeArena::release_one(a);
    NodeArena::release_one(b);
  }
  EXPECT_LE(seen.size(), 2 * NodeArena::kChunkBytes / 64);
}

TEST(NodeArena, NodesThatAnotherThreadGivesBackComeAgain) {
  // Guards against memory that grows where one thread only posts and another only runs.
  std::set<void*> seen;
  for (int round = 0; round < 200; ++round) {
    std::vector<void*> nodes;
    for (int i = 0; i < 200; ++i) nodes.push_back(NodeArena::allocate(64));
    seen.insert(nodes.begin(), nodes.end());
    std::thread([&] {
      NodeReleaser releaser;
      for (void* node : nodes) releaser.release(node);
    }).join();
  }
  EXPECT_LE(seen.size(), 200 * 64 * 4u) << "of 40,000 nodes";
  EXPECT_LT(seen.size(), 5000u);
}

TEST(NodeArena, NodesOutliveTheThreadThatTookThem) {
  std::vector<char*> nodes;
  std::thread([&] {
    for (int i = 0; i < 300; ++i) {
      nodes.push_back(static_cast<char*>(NodeArena::allocate(48)));
      std::fill(nodes.back(), nodes.back() + 48, static_cast<char>(i));
    }
  }).join();
  for (int i = 0; i < 300; ++i) EXPECT_EQ(nodes[i][47], static_cast<char>(i));
  for (char* node : nodes) NodeArena::release_one(node);
}

TEST(NodeArena, ManyThreadsPassNodesAround) {
  // Guards a chunk's balance: one node counted wrongly and it is reused while in use, or never.
  constexpr int kThreads = 3;
  std::mutex mutex;
  std::vector<uint64_t*> shared;
  std::atomic<int> corrupt{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      std::minstd_rand random(t + 1);
      for (int i = 0; i < 4000; ++i) {
        std::vector<uint64_t*> taken;
        for (unsigned n = random() % 8; n > 0; --n) {
          auto* node = static_cast<uint64_t*>(NodeArena::allocate(16 + random() % 100));
          node[0] = node[1] = reinterpret_cast<uintptr_t>(node);
          std::lock_guard<std::mutex> lock(mutex);
          shared.push_back(node);
        }
        {
          std::lock_guard<std::mutex> lock(mutex);
          for (unsigned n = random() % 8; n > 0 && !shared.empty(); --n) {
            std::swap(shared[random() % shared.size()], shared.back());
            taken.push_back(shared.back());
            shared.pop_back();
          }
        }
        NodeReleaser releaser;
        for (uint64_t* node : taken) {
          corrupt += node[0] != reinterpret_cast<uintptr_t>(node) || node[1] != node[0];
          node[0] = node[1] = 0;
          releaser.release(node);
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (uint64_t* node : shared) {
    corrupt += node[0] != reinterpret_cast<uintptr_t>(node);
    NodeArena::release_one(node);
  }
  EXPECT_EQ(corrupt, 0);
}

TEST(NodeArenaDeathTest, ANodeThatIsTooLarge) {
  EXPECT_DEATH(NodeArena::allocate(NodeArena::kMaxNodeBytes + 8192), "too large");
}

// ---- CallbackNode

class CallbackNodeTest : public ::testing::Test {
 protected:
  void run(CallbackNode* node) {
    node->run_and_destroy();
    free(node);
  }
  void destroy(CallbackNode* node) {
    node->destroy();
    free(node);
  }
  static void free(CallbackNode* node) {
    if (node->origin() == CallbackNode::Origin::kArena) {
      NodeArena::release_one(node);
    } else {
      ::operator delete(node);
    }
  }

  std::vector<std::string> seen_;
};

TEST_F(CallbackNodeTest, RunsOnceAndDestroys) {
  CallbackNode* node = new_arena_node(
      CallSite(),
      [&, n = OnDestroy([&] { seen_.push_back("destroyed"); })] { seen_.push_back("ran"); });
  EXPECT_TRUE(seen_.empty());
  run(node);
  EXPECT_THAT(seen_, ElementsAre("ran", "destroyed"));
}

TEST_F(CallbackNodeTest, DestroysUnrun) {
  destroy(new_heap_node(CallSite(), [&, n = OnDestroy([&] { seen_.push_back("destroyed"); })] {
    seen_.push_back("ran");
  }));
  EXPECT_THAT(seen_, ElementsAre("destroyed"));
}

TEST_F(CallbackNodeTest, DestroysACallableThatThrows) {
  CallbackNode* node = new_arena_node(
      CallSite(),
      [n = OnDestroy([&] { seen_.push_back("destroyed"); })] { throw std::runtime_error("x"); });
  EXPECT_THROW(node->run_and_destroy(), std::runtime_error);
  EXPECT_THAT(seen_, ElementsAre("destroyed"));
  free(node);
}

TEST_F(CallbackNodeTest, KeepsSiteAndOriginInOneWord) {
  const CallSite site = CallSite::current();
  CallbackNode* arena = new_arena_node(site, [] {});
  CallbackNode* heap = new_heap_node(CallSite(), [] {});
  EXPECT_EQ(arena->site().to_string(), site.to_string());
  EXPECT_EQ(arena->origin(), CallbackNode::Origin::kArena);
  EXPECT_FALSE(heap->site().known());
  EXPECT_EQ(heap->origin(), CallbackNode::Origin::kHeap);
  destroy(arena);
  destroy(heap);
}

TEST_F(CallbackNodeTest, MostPostsAreOneCacheLine) {
  auto forty = [a = std::array<char, 40>()] { static_cast<void>(a); };
  static_assert(sizeof(CallbackNodeFor<decltype(forty)>) <= 64);
  auto forty_eight = [a = std::array<char, 48>()] { static_cast<void>(a); };
  static_assert(sizeof(CallbackNodeFor<decltype(forty_eight)>) <= 80, "inline");
  auto large = [a = std::array<char, 400>()] { static_cast<void>(a); };
  static_assert(sizeof(CallbackNodeFor<decltype(large)>) <= 64, "behind a pointer");
  auto forty_nine = [a = std::array<char, 49>()] { static_cast<void>(a); };
  static_assert(sizeof(CallbackNodeFor<decltype(forty_nine)>) <= 64, "behind a pointer");
}

TEST_F(CallbackNodeTest, AConstructorThatThrowsLeavesNothingBehind) {
  struct ThrowsWhenCopied {
    ThrowsWhenCopied() = default;
    ThrowsWhenCopied(const ThrowsWhenCopied&) { throw std::runtime_error("copied"); }
    void operator()() const {}
    char large[200] = {};
  };
  struct Small {
    Small() = default;
    Small(const Small&) { throw std::runtime_error("copied"); }
    void operator()() const {}
  };
  const ThrowsWhenCopied large;
  const Small small;
  // In a thread of its own, whose arena nobody has used.
  std::thread([&] {
    void* before = NodeArena::allocate(64);
    NodeArena::release_one(before);
    EXPECT_THROW(new_arena_node(CallSite(), small), std::runtime_error);
    EXPECT_THROW(new_arena_node(CallSite(), large), std::runtime_error);
    EXPECT_THROW(new_heap_node(CallSite(), small), std::runtime_error);
    EXPECT_THROW(new_heap_node(CallSite(), large), std::runtime_error);
    void* after = NodeArena::allocate(64);
    EXPECT_EQ(after, before) << "the arena's memory was given back";
    NodeArena::release_one(after);
  }).join();
}

TEST_F(CallbackNodeTest, BindsArgumentsAsStdThreadDoes) {
  int target = 0;
  run(new_arena_node(
      CallSite(),
      [&](std::unique_ptr<int> p, std::string&& s) { target = *p + static_cast<int>(s.size()); },
      std::make_unique<int>(2), "abc"));
  EXPECT_EQ(target, 5);
  run(new_arena_node(
      CallSite(), [](int& i) { i = 9; }, std::ref(target)));
  EXPECT_EQ(target, 9);
}

void plain_function() {}

TEST(IsNullCallable, KnowsThoseThatCanBeNull) {
  struct Member {
    void f() {}
  };
  EXPECT_TRUE(is_null_callable(std::function<void()>()));
  EXPECT_TRUE(is_null_callable(absl::AnyInvocable<void()>()));
  EXPECT_TRUE(is_null_callable(static_cast<void (*)()>(nullptr)));
  EXPECT_TRUE(is_null_callable(static_cast<void (Member::*)()>(nullptr)));
  EXPECT_FALSE(is_null_callable(std::function<void()>([] {})));
  EXPECT_FALSE(is_null_callable(&plain_function));
  EXPECT_FALSE(is_null_callable(&Member::f));
  EXPECT_FALSE(is_null_callable([] {}));
}

}  // namespace
}  // namespace gyre::internal
