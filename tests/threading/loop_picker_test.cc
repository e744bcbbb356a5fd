// Which loop is next: policies over numbers, without loops.

#include "gyre/threading/loop_picker.h"

#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace gyre {
namespace {

using ::testing::AllOf;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::Ge;
using ::testing::HasSubstr;
using ::testing::Le;

class Loads final : public LoopLoads {
 public:
  explicit Loads(std::vector<uint64_t> open) : open(std::move(open)), share(this->open.size()) {}

  size_t size() const override { return open.size(); }
  uint64_t connections(size_t loop) const override { return open[loop]; }
  double busy(size_t loop) const override { return share[loop]; }
  bool has_room(size_t loop) const override { return most == 0 || open[loop] < most; }

  // Assigns `count` connections, each of another source.
  void assign(LoopPicker& picker, int count) {
    for (int i = 0; i < count; ++i) ++open[picker.pick(*this, ++source_).value()];
  }

  std::vector<uint64_t> open;
  std::vector<double> share;
  uint64_t most = 0;

 private:
  uint64_t source_ = 1000;
};

constexpr Placement kAll[] = {Placement::kRoundRobin, Placement::kLeastConnections,
                              Placement::kTwoChoices, Placement::kSourceHash,
                              Placement::kLeastBusy};

TEST(LoopPicker, EveryPolicyFillsUpAllLoopsToTheirLimitAndThenSaysSo) {
  for (const Placement placement : kAll) {
    LoopPicker picker(placement, 1);
    Loads loads({3, 0, 9, 1});
    loads.most = 10;
    loads.assign(picker, 7 + 10 + 1 + 9);
    EXPECT_THAT(loads.open, Each(10)) << to_string(placement);
    EXPECT_EQ(picker.pick(loads, 1), std::nullopt) << to_string(placement);
    loads.open[2] = 9;
    EXPECT_EQ(picker.pick(loads, 1), 2u) << to_string(placement);
  }
}

TEST(LoopPicker, OneLoopGetsAll) {
  for (const Placement placement : kAll) {
    LoopPicker picker(placement, 1);
    Loads loads({0});
    loads.assign(picker, 5);
    EXPECT_EQ(loads.open[0], 5u) << to_string(placement);
  }
}

TEST(LoopPicker, RoundRobinIsExactWhateverIsOpen) {
  LoopPicker picker(Placement::kRoundRobin, 1);
  Loads loads({100, 0, 0});
  loads.assign(picker, 7);
  EXPECT_THAT(loads.open, ElementsAre(103, 2, 2));
}

TEST(LoopPicker, LeastConnectionsLevelsAndSharesTiesOut) {
  LoopPicker picker(Placement::kLeastConnections, 1);
  Loads loads({5, 0, 2});
  loads.assign(picker, 8);
  EXPECT_THAT(loads.open, ElementsAre(5, 5, 5));
  std::set<size_t> first;
  for (int i = 0; i < 3; ++i) first.insert(picker.pick(loads, 0).value());
  EXPECT_EQ(first.size(), 3u) << "the first of equals is another one each time";
}

// "The power of two choices" (Mitzenmacher 2001): the fullest is within log log n of the mean.
TEST(LoopPicker, TwoChoicesStayCloseToTheMean) {
  LoopPicker picker(Placement::kTwoChoices, 7);
  Loads loads(std::vector<uint64_t>(16));
  loads.assign(picker, 16 * 1000);
  EXPECT_THAT(loads.open, Each(AllOf(Ge(985u), Le(1015u))));
}

TEST(LoopPicker, TwoChoicesDoNotLookAtAllLoops) {
  LoopPicker picker(Placement::kTwoChoices, 7);
  Loads loads(std::vector<uint64_t>(16, 10));
  loads.open[5] = 0;
  std::set<size_t> picked;
  for (int i = 0; i < 200; ++i) picked.insert(picker.pick(loads, 0).value());
  EXPECT_GT(picked.size(), 8u) << "not always the emptiest";
}

TEST(LoopPicker, ASourceComesBackToItsLoopAndTheSourcesSpread) {
  LoopPicker picker(Placement::kSourceHash, 3);
  Loads loads(std::vector<uint64_t>(4));
  loads.assign(picker, 4000);
  EXPECT_THAT(loads.open, Each(AllOf(Ge(850u), Le(1150u))));
  for (uint64_t source = 1; source < 50; ++source) {
    EXPECT_EQ(picker.pick(loads, source), picker.pick(loads, source));
  }
}

TEST(LoopPicker, WhereALoopIsFullItsSourcesSpreadOverAllOthersAndComeBackLater) {
  LoopPicker picker(Placement::kSourceHash, 3);
  Loads loads({0, 0, 0, 0});
  std::vector<uint64_t> of_first;
  for (uint64_t source = 1; of_first.size() < 300; ++source) {
    if (picker.pick(loads, source) == 0u) of_first.push_back(source);
  }
  loads.most = 1;
  loads.open = {1, 0, 0, 0};
  std::vector<uint64_t> elsewhere(4);
  for (const uint64_t source : of_first) ++elsewhere[picker.pick(loads, source).value()];
  EXPECT_EQ(elsewhere[0], 0u);
  EXPECT_GE(*std::min_element(elsewhere.begin() + 1, elsewhere.end()), 60u);
  loads.open = {0, 0, 0, 0};
  for (const uint64_t source : of_first) EXPECT_EQ(picker.pick(loads, source), 0u);
}

// Otherwise a client that knows the source could aim all of its connections at one loop.
TEST(LoopPicker, AnotherSeedSpreadsTheSourcesDifferently) {
  LoopPicker one(Placement::kSourceHash, 1), other(Placement::kSourceHash, 2);
  const Loads loads({0, 0, 0, 0});
  int same = 0;
  for (uint64_t source = 0; source < 400; ++source) {
    same += one.pick(loads, source) == other.pick(loads, source);
  }
  EXPECT_LT(same, 160);
}

TEST(LoopPicker, LeastBusyLooksAtTheWorkAndNotAtTheCount) {
  LoopPicker picker(Placement::kLeastBusy, 1);
  Loads loads({2, 50, 3});
  loads.share = {0.9, 0.1, 0.5};
  EXPECT_EQ(picker.pick(loads, 0), 1u);
  loads.share = {0.2, 0.21, 0.22};  // the same, as far as it can be measured
  EXPECT_EQ(picker.pick(loads, 0), 0u);
}

TEST(Placement, IsParsedByName) {
  for (const Placement placement : kAll) {
    EXPECT_EQ(parse_placement(to_string(placement)).value(), placement);
  }
}

TEST(Placement, AnUnknownOneIsQuotedAndTheOthersAreNamed) {
  for (const char* name : {"", "Round_Robin", "round-robin", "random"}) {
    const absl::Status status = parse_placement(name).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr("\"" + std::string(name) + "\""));
    EXPECT_THAT(
        std::string(status.message()),
        HasSubstr("round_robin, least_connections, two_choices, source_hash and least_busy"));
  }
}

}  // namespace
}  // namespace gyre
