#include "gyre/net/udp_send_queue.h"

#include <array>
#include <random>
#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace gyre::testing {
namespace {

using internal::UdpSendQueue;
using QueuedRun = UdpSendQueue::Run;

SocketAddress address(uint16_t port) { return SocketAddress::parse("127.0.0.1", port).value(); }

// "3x100" for three datagrams of 100 bytes in one message, "40" for one alone.
std::vector<std::string> runs_of(const UdpSendQueue& queue, size_t max_segment_bytes = 1500) {
  std::array<QueuedRun, 32> runs;
  std::vector<std::string> result;
  const size_t count = queue.front(runs, max_segment_bytes);
  for (size_t i = 0; i < count; ++i) {
    const QueuedRun& run = runs[i];
    result.push_back(run.segment_bytes > 0
                         ? std::to_string(run.datagrams) + "x" + std::to_string(run.segment_bytes)
                         : std::to_string(run.bytes.size()));
  }
  return result;
}
UdpSendQueue queue_of(const std::vector<size_t>& sizes) {
  UdpSendQueue queue(1 << 20, /*drop_oldest=*/false);
  for (const size_t size : sizes) EXPECT_TRUE(queue.push(std::string(size, 'x'), address(1)));
  return queue;
}
using Runs = std::vector<std::string>;

TEST(UdpSendQueue, DatagramsOfOneSizeAreOneRunThatAShorterOneEnds) {
  EXPECT_EQ(runs_of(queue_of({})), Runs());
  EXPECT_EQ(runs_of(queue_of({7})), Runs({"7"}));
  EXPECT_EQ(runs_of(queue_of({100, 100, 100})), Runs({"3x100"}));
  EXPECT_EQ(runs_of(queue_of({100, 100, 40, 100})), Runs({"3x100", "100"}));
  EXPECT_EQ(runs_of(queue_of({40, 100, 100})), Runs({"40", "2x100"}));
  EXPECT_EQ(runs_of(queue_of({100, 0, 0, 100})), Runs({"100", "0", "0", "100"}));
}

TEST(UdpSendQueue, WhatIsTooLargeForASegmentGoesAlone) {
  EXPECT_EQ(runs_of(queue_of({1500, 1500, 1501, 1501}), 1500), Runs({"2x1500", "1501", "1501"}));
  EXPECT_EQ(runs_of(queue_of({100, 100}), 0), Runs({"100", "100"}));
}

TEST(UdpSendQueue, ARunHasAtMostSoManySegmentsAndBytes) {
  EXPECT_EQ(runs_of(queue_of(std::vector<size_t>(130, 10))), Runs({"64x10", "64x10", "2x10"}));
  EXPECT_EQ(runs_of(queue_of(std::vector<size_t>(50, 1400))), Runs({"46x1400", "4x1400"}));
}

TEST(UdpSendQueue, ARunHasOneAddress) {
  UdpSendQueue queue(1000, false);
  for (const uint16_t port : {1, 1, 2, 1}) EXPECT_TRUE(queue.push("xx", address(port)));
  EXPECT_EQ(runs_of(queue), Runs({"2x2", "2", "2"}));
}

TEST(UdpSendQueue, WithoutRoomItRefuses) {
  UdpSendQueue queue(100, /*drop_oldest=*/false);
  EXPECT_FALSE(queue.push(std::string(101, 'x'), address(1)));
  EXPECT_TRUE(queue.push(std::string(100, 'x'), address(1)));
  EXPECT_FALSE(queue.push("x", address(1)));
  EXPECT_TRUE(queue.push("", address(1)));
  queue.pop(1);
  EXPECT_TRUE(queue.push("x", address(1)));
  EXPECT_EQ(queue.dropped(), 0u);
}

TEST(UdpSendQueue, WithoutRoomTheOldestMakeIt) {
  UdpSendQueue queue(100, /*drop_oldest=*/true);
  EXPECT_TRUE(queue.push(std::string(40, 'a'), address(1)));
  EXPECT_TRUE(queue.push(std::string(40, 'b'), address(1)));
  EXPECT_FALSE(queue.push(std::string(101, 'x'), address(1)));
  EXPECT_EQ(queue.size(), 2u) << "what does not fit at all drops nothing";
  EXPECT_TRUE(queue.push(std::string(90, 'c'), address(2)));
  EXPECT_EQ(queue.dropped(), 2u);
  EXPECT_EQ(queue.size(), 1u);
  EXPECT_EQ(queue.bytes(), 90u);
  EXPECT_EQ(queue.front_address(), address(2));
}

// Against the obvious model: whatever is pushed and popped, the runs are the datagrams in order.
TEST(UdpSendQueue, TheRunsAreTheDatagramsInOrder) {
  std::mt19937 random(5);
  UdpSendQueue queue(1 << 20, false);
  std::vector<std::string> model;
  for (int round = 0; round < 3000; ++round) {
    if (random() % 3 != 0) {
      const std::string bytes(random() % 4 * 10, static_cast<char>('a' + random() % 26));
      ASSERT_TRUE(queue.push(bytes, address(1)));
      model.push_back(bytes);
    } else if (!model.empty()) {
      const size_t count = 1 + random() % std::min<size_t>(model.size(), 4);
      queue.pop(count);
      model.erase(model.begin(), model.begin() + static_cast<ptrdiff_t>(count));
    }
    std::array<QueuedRun, 8> runs;
    const size_t count = queue.front(runs, 20);
    size_t next = 0;
    for (size_t i = 0; i < count; ++i) {
      std::string expected;
      for (size_t d = 0; d < runs[i].datagrams; ++d) expected += model[next++];
      ASSERT_EQ(runs[i].bytes, expected);
    }
    ASSERT_EQ(queue.size(), model.size());
    ASSERT_EQ(next == model.size() || count == runs.size(), true);
  }
}

}  // namespace
}  // namespace gyre::testing
