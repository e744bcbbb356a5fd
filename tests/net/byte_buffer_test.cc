#include "gyre/net/byte_buffer.h"

#include <random>
#include <string>
#include <utility>

#include "gtest/gtest.h"

namespace gyre::testing {
namespace {

using internal::ByteBuffer;

std::string letters(size_t count, size_t from = 0) {
  std::string text;
  for (size_t i = 0; i < count; ++i) text += static_cast<char>('a' + (from + i) % 26);
  return text;
}

TEST(ByteBuffer, BeginsEmpty) {
  const ByteBuffer buffer;
  EXPECT_TRUE(buffer.empty());
  EXPECT_EQ(buffer.size(), 0u);
  EXPECT_EQ(buffer.view(), "");
}

TEST(ByteBuffer, GivesWhatWasAppendedInOrder) {
  ByteBuffer buffer;
  buffer.append("one ");
  buffer.append("");
  buffer.append("two");
  EXPECT_EQ(buffer.view(), "one two");
  EXPECT_EQ(buffer.size(), 7u);
  EXPECT_FALSE(buffer.empty());
}

TEST(ByteBuffer, KeepsEveryByteAsItIs) {
  std::string bytes;
  for (int i = 0; i < 256; ++i) bytes += static_cast<char>(i);
  ByteBuffer buffer;
  buffer.append(bytes);
  EXPECT_EQ(buffer.view(), bytes);
}

TEST(ByteBuffer, ConsumesInFront) {
  ByteBuffer buffer;
  buffer.append("abcdef");
  buffer.consume(0);
  EXPECT_EQ(buffer.view(), "abcdef");
  buffer.consume(2);
  EXPECT_EQ(buffer.view(), "cdef");
  buffer.append("gh");
  EXPECT_EQ(buffer.view(), "cdefgh");
}

TEST(ByteBuffer, HoldsNoMemoryOnceEverythingIsConsumed) {
  ByteBuffer buffer;
  buffer.append(letters(1000));
  buffer.consume(1000);
  EXPECT_TRUE(buffer.empty());
  EXPECT_EQ(buffer.view().data(), nullptr);
  buffer.append("again");
  EXPECT_EQ(buffer.view(), "again");
}

TEST(ByteBuffer, HoldsNoMemoryOnceCleared) {
  ByteBuffer buffer;
  buffer.clear();
  buffer.append("text");
  buffer.clear();
  EXPECT_TRUE(buffer.empty());
  EXPECT_EQ(buffer.view().data(), nullptr);
}

TEST(ByteBuffer, GrowsOverManySizes) {
  for (const size_t size : {1, 255, 256, 257, 511, 512, 513, 65536, 1000000}) {
    ByteBuffer buffer;
    buffer.append("<");
    buffer.append(letters(size));
    buffer.append(">");
    EXPECT_EQ(buffer.view(), "<" + letters(size) + ">") << size;
  }
}

TEST(ByteBuffer, WhatIsConsumedMakesRoomInTheSameMemory) {
  ByteBuffer buffer;
  buffer.append(letters(256));
  const char* const memory = buffer.view().data();
  buffer.consume(200);
  buffer.append(letters(200));
  EXPECT_EQ(buffer.view().data(), memory) << "56 + 200 bytes fit where 256 did";
  EXPECT_EQ(buffer.view(), letters(56, 200) + letters(200));
}

TEST(ByteBuffer, AQueueThatNeverEmptiesDoesNotGrow) {
  ByteBuffer buffer;
  buffer.append(letters(100));
  int moved = 0;
  for (int i = 0; i < 100000; ++i) {
    const char* const before = buffer.view().data();
    buffer.append("0123456789");
    buffer.consume(10);
    const char* const after = buffer.view().data();
    if (after != before + 10) ++moved;
  }
  EXPECT_EQ(buffer.size(), 100u);
  // 100 bytes are moved once for at least 128 bytes that were consumed.
  EXPECT_LE(moved, 100000 * 10 / 128 + 1);
}

// Counts the bytes that are moved to other memory. A buffer that grew by a constant would move 2^34
// and more of them.
TEST(ByteBuffer, FourMiBByteByByteAreMovedLessThanOnceOver) {
  constexpr size_t kBytes = 4 * 1024 * 1024;
  ByteBuffer buffer;
  uint64_t moved = 0;
  const char* memory = nullptr;
  for (size_t i = 0; i < kBytes; ++i) {
    const size_t before = buffer.size();
    buffer.append("x");
    if (buffer.view().data() != memory) moved += before;
    memory = buffer.view().data();
  }
  EXPECT_EQ(buffer.size(), kBytes);
  EXPECT_GT(moved, 0u);
  EXPECT_LT(moved, kBytes);
}

TEST(ByteBuffer, MovesItsContent) {
  ByteBuffer from;
  from.append("content");
  ByteBuffer to(std::move(from));
  EXPECT_EQ(to.view(), "content");
  ByteBuffer assigned;
  assigned = std::move(to);
  EXPECT_EQ(assigned.view(), "content");
}

TEST(ByteBuffer, SwapsItsContent) {
  ByteBuffer a, b;
  a.append("first");
  b.append("second");
  b.consume(3);
  a.swap(b);
  EXPECT_EQ(a.view(), "ond");
  EXPECT_EQ(b.view(), "first");
}

TEST(ByteBuffer, IsAStringUnderAnySequenceOfCalls) {
  for (uint32_t seed = 0; seed < 20; ++seed) {
    std::mt19937 random(seed);
    ByteBuffer buffer;
    std::string reference;
    for (int step = 0; step < 2000; ++step) {
      if (random() % 2 == 0) {
        const std::string bytes = letters(random() % 400, random() % 26);
        buffer.append(bytes);
        reference += bytes;
      } else {
        // Mostly a part of it, sometimes all.
        const size_t count =
            random() % 8 == 0 ? reference.size() : random() % (reference.size() + 1);
        buffer.consume(count);
        reference.erase(0, count);
      }
      ASSERT_EQ(buffer.view(), reference) << "seed " << seed << ", step " << step;
    }
  }
}

}  // namespace
}  // namespace gyre::testing
