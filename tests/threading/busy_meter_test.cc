// The share of time that loops work, from their counts.

#include "gyre/threading/busy_meter.h"

#include <vector>

#include "gtest/gtest.h"

namespace gyre {
namespace {

using std::chrono::milliseconds;

class BusyMeterTest : public ::testing::Test {
 protected:
  void read() {
    meter_.update(now_, [this](size_t loop) { return readings_[loop]; });
  }
  void pass(milliseconds time) { now_ += time; }

  BusyMeter::TimePoint now_{milliseconds(1'000'000)};
  BusyMeter meter_{2};
  std::vector<BusyMeter::Reading> readings_{2};
};

TEST_F(BusyMeterTest, ComesToTheShareThatWasWorked) {
  readings_[1].metrics.polling = true;
  read();
  for (int i = 0; i < 20; ++i) {
    pass(milliseconds(100));
    readings_[0].metrics.busy += milliseconds(75);
    readings_[0].metrics.idle += milliseconds(25);
    read();
  }
  EXPECT_NEAR(meter_.busy(0, 0), 0.75, 0.01);
  EXPECT_NEAR(meter_.busy(1, 0), 0.0, 0.01);
}

// Neither of them counts anything as long as it lasts.
TEST_F(BusyMeterTest, ALoopThatIsStuckIsBusyAndOneThatSleepsIsNot) {
  readings_[0].metrics.polling = false;
  readings_[1].metrics.polling = true;
  read();
  for (int i = 0; i < 10; ++i) {
    pass(milliseconds(100));
    read();
  }
  EXPECT_NEAR(meter_.busy(0, 0), 1.0, 0.01);
  EXPECT_NEAR(meter_.busy(1, 0), 0.0, 0.01);
}

TEST_F(BusyMeterTest, LooksAgainOnlyAfterItsInterval) {
  read();
  pass(BusyMeter::kInterval - milliseconds(1));
  meter_.update(now_, [](size_t) -> BusyMeter::Reading {
    ADD_FAILURE() << "too early";
    return {};
  });
}

// Between two looks a burst must not go to one loop alone.
TEST_F(BusyMeterTest, ConnectionsThatCameSinceCountAsTheOthersDid) {
  for (BusyMeter::Reading& reading : readings_) reading.connections = 10;
  read();
  for (int i = 0; i < 20; ++i) {
    pass(milliseconds(100));
    readings_[0].metrics.busy += milliseconds(50);
    readings_[0].metrics.idle += milliseconds(50);
    read();
  }
  EXPECT_NEAR(meter_.busy(0, 10), 0.5, 0.01);
  EXPECT_NEAR(meter_.busy(0, 14), 0.7, 0.02);
  EXPECT_LE(meter_.busy(0, 1000), 1.0);
  EXPECT_NEAR(meter_.busy(0, 5), 0.5, 0.01) << "those that ended since";
}

}  // namespace
}  // namespace gyre
