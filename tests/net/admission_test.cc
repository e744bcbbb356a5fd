// Who may come in: limits over numbers, without sockets.

#include "gyre/net/admission.h"

#include <atomic>
#include <chrono>
#include <memory>
#include <set>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "gyre/net/rate_limit.h"
#include "gyre/net/source_counts.h"

namespace gyre::internal {
namespace {

using std::chrono::milliseconds;
using TimePoint = std::chrono::steady_clock::time_point;

SocketAddress address(const char* host) { return SocketAddress::parse(host, 4711).value(); }

std::shared_ptr<Admission> admission(ConnectionLimits limits, size_t loops = 2) {
  return std::make_shared<Admission>(limits, loops);
}

Verdict::Kind enter(Admission& admission, std::vector<Place>& places, uint64_t source = 1,
                    TimePoint now = {}, bool last_call = false) {
  Place place;
  const Verdict verdict = admission.enter(source, now, last_call, place);
  EXPECT_EQ(static_cast<bool>(place), verdict.kind == Verdict::kAdmit);
  if (place) places.push_back(std::move(place));
  return verdict.kind;
}

TEST(Admission, WithoutLimitsThereIsNothingToCount) {
  EXPECT_TRUE(Admission::unlimited({}));
  for (int i = 0; i < 4; ++i) {
    ConnectionLimits limits;
    if (i == 0) limits.total = 1;
    if (i == 1) limits.per_loop = 1;
    if (i == 2) limits.per_source = 1;
    if (i == 3) limits.accepts_per_second = 1;
    EXPECT_FALSE(Admission::unlimited(limits));
  }
}

TEST(Admission, InTotalSoManyAndOneMoreForEachThatEnded) {
  const auto three = admission({.total = 3});
  std::vector<Place> places;
  for (int i = 0; i < 3; ++i) EXPECT_EQ(enter(*three, places), Verdict::kAdmit);
  EXPECT_EQ(enter(*three, places), Verdict::kWait);
  places.pop_back();
  EXPECT_EQ(enter(*three, places), Verdict::kAdmit);
  EXPECT_EQ(enter(*three, places), Verdict::kWait);
}

TEST(Admission, RejectsWhereItIsToldTo) {
  const auto none = admission(
      {.total = 1, .at_total = AtLimit::kReject, .per_loop = 0, .at_loop = AtLimit::kWait});
  std::vector<Place> places;
  EXPECT_EQ(enter(*none, places), Verdict::kAdmit);
  EXPECT_EQ(enter(*none, places), Verdict::kReject);
}

TEST(Admission, OnALastCallNobodyWaits) {
  const auto one = admission({.total = 1});
  std::vector<Place> places;
  EXPECT_EQ(enter(*one, places), Verdict::kAdmit);
  EXPECT_EQ(enter(*one, places, 1, {}, /*last_call=*/true), Verdict::kReject);
}

TEST(Admission, OfAllLoopsTogetherWhatEachMayHave) {
  const auto two_each = admission({.per_loop = 2}, 3);
  std::vector<Place> places;
  for (int i = 0; i < 6; ++i) EXPECT_EQ(enter(*two_each, places), Verdict::kAdmit);
  Place place;
  const Verdict verdict = two_each->enter(1, {}, false, place);
  EXPECT_EQ(verdict.kind, Verdict::kWait);
  EXPECT_EQ(verdict.limit, LimitKind::kLoop);
}

TEST(Admission, OfEachSourceSoManyAndTheOthersGoOn) {
  const auto two = admission({.per_source = 2});
  std::vector<Place> places, others;
  for (int i = 0; i < 2; ++i) EXPECT_EQ(enter(*two, places, 7), Verdict::kAdmit);
  EXPECT_EQ(enter(*two, places, 7), Verdict::kReject);
  EXPECT_EQ(enter(*two, others, 8), Verdict::kAdmit);
  places.clear();
  EXPECT_EQ(enter(*two, places, 7), Verdict::kAdmit);
}

// A source that is rejected must not have used up what others could have.
TEST(Admission, WhoIsRejectedTakesNoPlaceUnderAnyOtherLimit) {
  const auto limited =
      admission({.total = 2, .per_source = 1, .accepts_per_second = 1, .accept_burst = 2});
  std::vector<Place> places;
  EXPECT_EQ(enter(*limited, places, 7), Verdict::kAdmit);
  for (int i = 0; i < 10; ++i) EXPECT_EQ(enter(*limited, places, 7), Verdict::kReject);
  EXPECT_EQ(enter(*limited, places, 8), Verdict::kAdmit);
}

TEST(Admission, AtTheRateItSaysWhenToComeAgain) {
  const auto ten = admission({.accepts_per_second = 10, .accept_burst = 2});
  std::vector<Place> places;
  TimePoint now(milliseconds(5000));
  for (int i = 0; i < 2; ++i) EXPECT_EQ(enter(*ten, places, 1, now), Verdict::kAdmit);
  Place place;
  const Verdict verdict = ten->enter(1, now, false, place);
  EXPECT_EQ(verdict.kind, Verdict::kWait);
  EXPECT_EQ(verdict.limit, LimitKind::kRate);
  EXPECT_EQ(verdict.retry_in, milliseconds(100));
  EXPECT_EQ(enter(*ten, places, 1, now + milliseconds(100)), Verdict::kAdmit);
  EXPECT_EQ(enter(*ten, places, 1, now + milliseconds(101), /*last_call=*/true), Verdict::kAdmit);
}

TEST(Admission, MayDieBeforeItsPlaces) {
  auto one = admission({.total = 1, .per_source = 1});
  std::vector<Place> places;
  enter(*one, places);
  one.reset();
}

// Never one too many, whatever the threads do, and in the end all places are back.
TEST(Admission, HoldsItsLimitUnderConcurrency) {
  constexpr int kLimit = 5, kThreads = 4;
  const auto five = admission({.total = kLimit, .per_source = 3});
  std::atomic<int> inside{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      std::vector<Place> places;
      for (int i = 0; i < 5000; ++i) {
        if (enter(*five, places, 1 + (t + i) % 3) == Verdict::kAdmit) {
          EXPECT_LE(inside.fetch_add(1) + 1, kLimit);
        }
        if (places.size() > 1 || (i % 3 == 0 && !places.empty())) {
          inside.fetch_sub(1);
          places.pop_back();
        }
      }
      inside.fetch_sub(static_cast<int>(places.size()));
    });
  }
  for (std::thread& thread : threads) thread.join();
  std::vector<Place> places;
  for (int i = 0; i < kLimit; ++i) EXPECT_EQ(enter(*five, places, 10 + i), Verdict::kAdmit);
}

// ---- Sources

TEST(Source, IsAnAddressWithoutThePortOrASubscribersPrefix) {
  const auto of = [](const char* host) { return source_of(address(host)); };
  EXPECT_EQ(source_of(SocketAddress::parse("10.0.0.1", 1).value()), of("10.0.0.1"));
  EXPECT_EQ(of("::ffff:10.0.0.1"), of("10.0.0.1"));
  EXPECT_EQ(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::2"));
  const std::set<uint64_t> different{of("10.0.0.1"),        of("10.0.0.2"), of("2001:db8:1:2::1"),
                                     of("2001:db8:1:3::1"), of("::1"),      of("0.0.0.0")};
  EXPECT_EQ(different.size(), 6u);
  EXPECT_EQ(different.count(0), 0u);
  EXPECT_EQ(source_of(SocketAddress()), 0u);
}

TEST(SourceCounts, AreBoundedAndForgetWhoHasLeft) {
  SourceCounts counts(1, 100);
  for (uint64_t source = 1; source <= 100; ++source) EXPECT_TRUE(counts.enter(source));
  EXPECT_FALSE(counts.enter(101)) << "let in, and not counted";
  EXPECT_FALSE(counts.full(101));
  EXPECT_TRUE(counts.full(1));
  EXPECT_EQ(counts.size(), 100u);
  for (uint64_t source = 1; source <= 100; ++source) counts.leave(source);
  EXPECT_EQ(counts.size(), 0u);
  EXPECT_TRUE(counts.enter(101));
}

// ---- Rate

TEST(RateLimit, GivesTheBurstAndThenTheRate) {
  RateLimit limit(100, 5);
  TimePoint now(std::chrono::hours(3));
  int taken = 0;
  for (int ms = 0; ms < 1000; ++ms) {
    while (limit.wait(now) == RateLimit::Duration::zero()) {
      limit.take(now);
      ++taken;
    }
    now += milliseconds(1);
  }
  EXPECT_NEAR(taken, 5 + 100, 1);
}

TEST(RateLimit, WaitingAsLongAsItSaysIsEnough) {
  RateLimit limit(3, 1);
  TimePoint now(milliseconds(1));
  for (int i = 0; i < 10; ++i) {
    now += limit.wait(now);
    ASSERT_EQ(limit.wait(now), RateLimit::Duration::zero());
    limit.take(now);
  }
  EXPECT_NEAR(std::chrono::duration<double>(now.time_since_epoch()).count(), 3.0, 0.01);
}

TEST(RateLimit, APauseGivesNoMoreThanTheBurst) {
  RateLimit limit(1000, 3);
  const TimePoint now(std::chrono::hours(1000));
  for (int i = 0; i < 3; ++i) limit.take(now);
  EXPECT_GT(limit.wait(now), RateLimit::Duration::zero());
}

TEST(RateLimit, ExtremesDoNotOverflow) {
  for (const double per_second : {1e-300, 1e-9, 1e9, 1e300}) {
    for (const double burst : {0.0, 1.0, 1e300}) {
      RateLimit limit(per_second, burst);
      const TimePoint now(std::chrono::hours(1000));
      EXPECT_EQ(limit.wait(now), RateLimit::Duration::zero()) << per_second << ", " << burst;
      limit.take(now);
      EXPECT_GE(limit.wait(now), RateLimit::Duration::zero());
    }
  }
}

}  // namespace
}  // namespace gyre::internal
