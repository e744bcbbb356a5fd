#include "gyre/net/write_queue.h"

#include <array>
#include <memory>
#include <random>
#include <string>
#include <utility>

#include "gtest/gtest.h"

namespace gyre::testing {
namespace {

using internal::WriteQueue;

SharedBytes shared(std::string bytes) {
  return std::make_shared<const std::string>(std::move(bytes));
}
SharedFile no_file() { return std::make_shared<const UniqueFd>(); }

// What gather() gives, in a row.
std::string gathered(const WriteQueue& queue, size_t pieces = 16) {
  std::array<iovec, 64> places;
  const size_t count = queue.gather(std::span(places).first(pieces));
  std::string bytes;
  for (size_t i = 0; i < count; ++i) {
    bytes.append(static_cast<const char*>(places[i].iov_base), places[i].iov_len);
  }
  return bytes;
}

TEST(WriteQueue, BeginsEmpty) {
  const WriteQueue queue;
  EXPECT_TRUE(queue.empty());
  EXPECT_EQ(queue.total(), 0u);
  EXPECT_EQ(queue.memory(), 0u);
}

TEST(WriteQueue, KeepsTheOrderOfCopiedAndSharedBytes) {
  WriteQueue queue;
  queue.append("one ");
  queue.append("two ");
  queue.append(shared("skipped three "), 8);
  queue.append("four");
  EXPECT_EQ(queue.front_file(), nullptr);
  EXPECT_EQ(gathered(queue), "one two three four");
  EXPECT_EQ(queue.total(), 18u);
  EXPECT_EQ(queue.memory(), 18u);
}

TEST(WriteQueue, SmallBytesShareASegment) {
  WriteQueue queue;
  for (int i = 0; i < 100; ++i) queue.append("x");
  EXPECT_EQ(gathered(queue, 1), std::string(100, 'x'));
}

TEST(WriteQueue, GathersNoMoreThanThereArePlaces) {
  WriteQueue queue;
  for (const char* bytes : {"a", "b", "c"}) queue.append(shared(bytes), 0);
  EXPECT_EQ(gathered(queue, 2), "ab");
}

TEST(WriteQueue, SharedBytesAreNotCopiedAndFreedOnceTheyAreSent) {
  WriteQueue queue;
  const SharedBytes bytes = shared("payload");
  queue.append(bytes, 0);
  iovec place;
  ASSERT_EQ(queue.gather({&place, 1}), 1u);
  EXPECT_EQ(place.iov_base, bytes->data());
  queue.consume(6);
  EXPECT_EQ(bytes.use_count(), 2);
  queue.consume(1);
  EXPECT_EQ(bytes.use_count(), 1);
}

TEST(WriteQueue, AFileStopsTheGatheringUntilItIsSent) {
  WriteQueue queue;
  queue.append("head");
  queue.append(WriteQueue::File{no_file(), 100, 50});
  queue.append("tail");
  EXPECT_EQ(queue.total(), 58u);
  EXPECT_EQ(queue.memory(), 8u) << "a file takes no memory";
  EXPECT_EQ(gathered(queue), "head");
  queue.consume(4);
  ASSERT_NE(queue.front_file(), nullptr);
  queue.consume(20);
  EXPECT_EQ(queue.front_file()->offset, 120u);
  EXPECT_EQ(queue.front_file()->length, 30u);
  queue.consume(30);
  EXPECT_EQ(queue.front_file(), nullptr);
  EXPECT_EQ(gathered(queue), "tail");
}

TEST(WriteQueue, OfNothingIsNothing) {
  WriteQueue queue;
  queue.append("");
  queue.append(shared("abc"), 3);
  queue.append(WriteQueue::File{no_file(), 7, 0});
  EXPECT_TRUE(queue.empty());
}

TEST(WriteQueue, ClearedItIsEmptyAndFreesWhatItShared) {
  WriteQueue queue;
  const SharedBytes bytes = shared("payload");
  queue.append("copied");
  queue.append(bytes, 0);
  queue.clear();
  EXPECT_TRUE(queue.empty());
  EXPECT_EQ(queue.memory(), 0u);
  EXPECT_EQ(bytes.use_count(), 1);
  queue.append("again");
  EXPECT_EQ(gathered(queue), "again");
}

TEST(WriteQueue, IsARowOfBytesUnderAnySequenceOfCalls) {
  for (uint32_t seed = 0; seed < 10; ++seed) {
    std::mt19937 random(seed);
    WriteQueue queue;
    std::string reference;
    for (int step = 0; step < 500; ++step) {
      std::string bytes(random() % (step % 50 == 0 ? 100000 : 300), 'a' + step % 26);
      switch (random() % 3) {
        case 0:
          queue.append(bytes);
          reference += bytes;
          break;
        case 1: {
          const size_t offset = random() % (bytes.size() + 1);
          reference += bytes.substr(offset);
          queue.append(shared(std::move(bytes)), offset);
          break;
        }
        default: {
          const size_t count = random() % (reference.size() + 1);
          queue.consume(count);
          reference.erase(0, count);
        }
      }
      ASSERT_EQ(queue.total(), reference.size()) << "seed " << seed << ", step " << step;
      ASSERT_EQ(queue.memory(), reference.size());
      const std::string front = gathered(queue, 3);
      ASSERT_TRUE(reference.compare(0, front.size(), front) == 0) << "seed " << seed;
      ASSERT_EQ(front.empty(), reference.empty());
    }
  }
}

}  // namespace
}  // namespace gyre::testing
