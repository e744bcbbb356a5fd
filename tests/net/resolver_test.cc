// Resolving names: what is remembered, shared and bounded. With a lookup of the test's own.

#include "gyre/net/resolver.h"

#include <atomic>
#include <chrono>
#include <deque>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "gyre/loop/io_loop.h"
#include "gyre/loop/task.h"
#include "gyre/testing/manual_clock.h"
#include "gyre/tests/support/loop_fixture.h"

namespace gyre::testing {
namespace {

using absl::StatusCode;
using ::testing::HasSubstr;

// Holds the work back until the test runs it, or throws it away.
class HeldExecutor final : public Executor {
 public:
  bool execute(Callback work) override {
    if (refuses) return false;
    held.push_back(std::move(work));
    return true;
  }
  void run_all() {
    while (!held.empty()) {
      Callback work = std::move(held.front());
      held.pop_front();
      std::move(work)();
    }
  }

  std::deque<Callback> held;
  bool refuses = false;
};

class ResolverTest : public ::testing::Test {
 protected:
  ResolverTest() {
    options_.executor = &executor_;
    options_.clock = &clock_;
    options_.lookup = [this](const std::string& host) -> ResolvedAddresses {
      ++lookups_;
      if (host == "unknown") return absl::NotFoundError("host \"unknown\": no such name");
      if (host == "nowhere") return std::vector<SocketAddress>{};
      if (host == "throws") throw std::runtime_error("from the lookup");
      return std::vector<SocketAddress>{*SocketAddress::parse("192.0.2.1", 0),
                                        *SocketAddress::parse("2001:db8::1", 0)};
    };
  }

  Resolver& resolver() {
    if (resolver_ == nullptr) resolver_ = std::make_unique<Resolver>(options_);
    return *resolver_;
  }
  // The result, once the executor has run.
  ResolvedAddresses resolve(const std::string& host, uint16_t port = 80) {
    Future<ResolvedAddresses> future = resolver().resolve(host, port);
    executor_.run_all();
    EXPECT_TRUE(future.done());
    return future.get();
  }

  HeldExecutor executor_;
  ManualClock clock_;
  ResolverOptions options_;
  int lookups_ = 0;
  std::unique_ptr<Resolver> resolver_;
};

TEST_F(ResolverTest, GivesTheAddressesWithThePort) {
  const ResolvedAddresses addresses = resolve("example.com", 8080);
  ASSERT_TRUE(addresses.ok()) << addresses.status();
  ASSERT_EQ(addresses->size(), 2u);
  EXPECT_EQ(addresses->at(0).to_string(), "192.0.2.1:8080");
  EXPECT_EQ(addresses->at(1).to_string(), "[2001:db8::1]:8080");
}

TEST_F(ResolverTest, NumericAddressesAndUnixSocketsAreThereAtOnce) {
  for (const char* host : {"127.0.0.1", "::1", "unix:/run/app.sock"}) {
    Future<ResolvedAddresses> future = resolver().resolve(host, 80);
    ASSERT_TRUE(future.done()) << host;
    EXPECT_EQ(future.get()->at(0), *SocketAddress::parse(host, 80));
  }
  EXPECT_EQ(lookups_, 0);
}

TEST_F(ResolverTest, RemembersAResultWhateverThePort) {
  EXPECT_TRUE(resolve("example.com", 80).ok());
  Future<ResolvedAddresses> again = resolver().resolve("Example.COM", 443);
  ASSERT_TRUE(again.done());
  EXPECT_EQ(again.get()->at(0).port(), 443);
  EXPECT_EQ(lookups_, 1);
  EXPECT_EQ(resolver().stats().hits, 1u);
}

TEST_F(ResolverTest, ForgetsAResultWhenItIsTooOld) {
  options_.max_age = std::chrono::seconds(10);
  EXPECT_TRUE(resolve("example.com").ok());
  clock_.advance(std::chrono::milliseconds(9999));
  EXPECT_TRUE(resolve("example.com").ok());
  EXPECT_EQ(lookups_, 1);
  clock_.advance(std::chrono::milliseconds(1));
  EXPECT_TRUE(resolve("example.com").ok());
  EXPECT_EQ(lookups_, 2);
}

TEST_F(ResolverTest, RemembersAFailureForAShorterTime) {
  EXPECT_EQ(resolve("unknown").status().code(), StatusCode::kNotFound);
  EXPECT_EQ(resolve("unknown").status().code(), StatusCode::kNotFound);
  EXPECT_EQ(lookups_, 1);
  clock_.advance(std::chrono::seconds(5));
  EXPECT_EQ(resolve("unknown").status().code(), StatusCode::kNotFound);
  EXPECT_EQ(lookups_, 2);
}

TEST_F(ResolverTest, ConcurrentQueriesForOneNameShareOneLookup) {
  Future<ResolvedAddresses> first = resolver().resolve("example.com", 1);
  Future<ResolvedAddresses> second = resolver().resolve("example.com", 2);
  Future<ResolvedAddresses> other = resolver().resolve("example.org", 3);
  EXPECT_FALSE(first.done());
  EXPECT_EQ(executor_.held.size(), 2u);
  executor_.run_all();
  EXPECT_EQ(first.get()->at(0).port(), 1);
  EXPECT_EQ(second.get()->at(0).port(), 2);
  EXPECT_EQ(other.get()->at(0).port(), 3);
  EXPECT_EQ(lookups_, 2);
  EXPECT_EQ(resolver().stats().shared, 1u);
}

TEST_F(ResolverTest, KeepsTheMostRecentlyUsedNames) {
  options_.max_entries = 2;
  EXPECT_TRUE(resolve("a").ok());
  EXPECT_TRUE(resolve("b").ok());
  EXPECT_TRUE(resolve("a").ok());
  EXPECT_TRUE(resolve("c").ok());  // in place of b
  EXPECT_EQ(lookups_, 3);
  EXPECT_TRUE(resolve("a").ok());
  EXPECT_EQ(lookups_, 3);
  EXPECT_TRUE(resolve("b").ok());
  EXPECT_EQ(lookups_, 4);
  EXPECT_EQ(resolver().stats().entries, 2u);
}

TEST_F(ResolverTest, KeepsNothingWhereItIsToldTo) {
  options_.max_entries = 0;
  EXPECT_TRUE(resolve("a").ok());
  EXPECT_TRUE(resolve("a").ok());
  EXPECT_EQ(lookups_, 2);
}

TEST_F(ResolverTest, ClearForgetsEverything) {
  EXPECT_TRUE(resolve("a").ok());
  resolver().clear();
  EXPECT_TRUE(resolve("a").ok());
  EXPECT_EQ(lookups_, 2);
}

TEST_F(ResolverTest, MoreLookupsThanAllowedAreResourceExhausted) {
  options_.max_lookups = 1;
  Future<ResolvedAddresses> first = resolver().resolve("a", 1);
  Future<ResolvedAddresses> second = resolver().resolve("b", 1);
  ASSERT_TRUE(second.done());
  const absl::Status status = second.get().status();
  EXPECT_EQ(status.code(), StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()), HasSubstr("\"b\""));
  executor_.run_all();
  EXPECT_TRUE(first.get().ok());
  EXPECT_TRUE(resolve("b").ok());
}

TEST_F(ResolverTest, AnOverrideTakesThePlaceOfItsName) {
  options_.overrides = {{"db.test", "127.0.0.1"}, {"alias.test", "example.com"}};
  EXPECT_EQ(resolve("DB.test", 5432)->at(0).to_string(), "127.0.0.1:5432");
  EXPECT_EQ(lookups_, 0);
  EXPECT_EQ(resolve("alias.test", 1)->at(0).to_string(), "192.0.2.1:1");
}

TEST_F(ResolverTest, BadHostsAreErrorsThatNameThem) {
  const std::string too_long(256, 'x');
  const std::pair<std::string, std::string> kCases[] = {
      {"", "\"\" is empty"},
      {std::string("a\0b", 3), "a\\x00"},
      {too_long, "more than 255 bytes"},
      {"unix:", "\"unix:\""},
  };
  for (const auto& [host, text] : kCases) {
    Future<ResolvedAddresses> future = resolver().resolve(host, 80);
    ASSERT_TRUE(future.done());
    const absl::Status status = future.get().status();
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(text));
  }
  EXPECT_EQ(lookups_, 0);
}

TEST_F(ResolverTest, ALookupThatFindsNothingOrThrowsIsAnErrorThatNamesTheHost) {
  for (const char* host : {"nowhere", "throws"}) {
    const absl::Status status = resolve(host).status();
    EXPECT_FALSE(status.ok());
    EXPECT_THAT(std::string(status.message()), HasSubstr(host));
  }
}

TEST_F(ResolverTest, AnExecutorThatRefusesIsUnavailableAndNotRemembered) {
  executor_.refuses = true;
  const absl::Status status = resolve("a").status();
  EXPECT_EQ(status.code(), StatusCode::kUnavailable) << status;
  executor_.refuses = false;
  EXPECT_TRUE(resolve("a").ok());
}

TEST_F(ResolverTest, WorkThatIsThrownAwayIsUnavailable) {
  Future<ResolvedAddresses> future = resolver().resolve("a", 1);
  executor_.held.clear();
  ASSERT_TRUE(future.done());
  EXPECT_EQ(future.get().status().code(), StatusCode::kUnavailable);
}

TEST_F(ResolverTest, WhoWaitsIsToldThoughTheResolverIsGone) {
  Future<ResolvedAddresses> future = resolver().resolve("a", 1);
  resolver_.reset();
  executor_.run_all();
  ASSERT_TRUE(future.done());
  EXPECT_TRUE(future.get().ok());
}

TEST_F(ResolverTest, AQueryThatIsDroppedIsRememberedAllTheSame) {
  static_cast<void>(resolver().resolve("a", 1));
  executor_.run_all();
  EXPECT_TRUE(resolve("a").ok());
  EXPECT_EQ(lookups_, 1);
}

// Many threads, few names: every answer is right, and each name is looked up once.
TEST(ResolverInThreads, AreAllAnsweredWithOneLookupForEachName) {
  std::atomic<int> lookups = 0;
  ResolverOptions options;
  options.lookup = [&](const std::string& host) -> ResolvedAddresses {
    ++lookups;
    return std::vector<SocketAddress>{*SocketAddress::parse("192.0.2." + host.substr(1), 0)};
  };
  Resolver resolver(options);
  constexpr int kThreads = 4, kQueries = 500, kNames = 10;
  std::atomic<int> right = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&] {
      std::vector<std::pair<int, Future<ResolvedAddresses>>> futures;
      for (int i = 0; i < kQueries; ++i) {
        futures.emplace_back(i % kNames, resolver.resolve("n" + std::to_string(i % kNames), 1));
      }
      for (auto& [name, future] : futures) {
        while (!future.done()) std::this_thread::yield();
        right += future.get()->at(0).host() == "192.0.2." + std::to_string(name);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(right, kThreads * kQueries);
  EXPECT_EQ(lookups, kNames);
}

// ---- On a loop, with the real thing

class ResolverOnALoop : public LoopTest {};
GYRE_FOR_EACH_BACKEND(ResolverOnALoop);

TEST_P(ResolverOnALoop, LocalhostIsTheLoopback) {
  Resolver resolver;
  const ResolvedAddresses addresses = loop_->run_sync(
      [&]() -> Task<ResolvedAddresses> { co_return co_await resolver.resolve("localhost", 80); },
      kDeadline);
  ASSERT_TRUE(addresses.ok()) << addresses.status();
  EXPECT_THAT(addresses->at(0).host(), ::testing::AnyOf("127.0.0.1", "::1"));
}

}  // namespace
}  // namespace gyre::testing
