#include "gyre/net/read_request.h"

#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

#include "gtest/gtest.h"

namespace gyre::testing {
namespace {

using internal::match;
using internal::ReadBytes;
using internal::ReadMatch;
using internal::ReadRequest;
using internal::ReadUntil;
using internal::ReadUntilClose;

constexpr size_t kNoLimit = std::string_view::npos;

std::optional<size_t> bytes_of(ReadRequest request, std::string_view input) {
  return match(request, input).bytes;
}
bool is_unsatisfiable(ReadRequest request, std::string_view input) {
  const ReadMatch found = match(request, input);
  EXPECT_FALSE(found.unsatisfiable && found.bytes.has_value());
  return found.unsatisfiable;
}
ReadRequest until(std::string delimiter, size_t max_bytes = kNoLimit) {
  return ReadUntil{std::move(delimiter), max_bytes};
}

// ---- A count

TEST(ReadRequest, ACountIsAnsweredOnceItIsThere) {
  EXPECT_EQ(bytes_of(ReadBytes{4, false}, ""), std::nullopt);
  EXPECT_EQ(bytes_of(ReadBytes{4, false}, "abc"), std::nullopt);
  EXPECT_EQ(bytes_of(ReadBytes{4, false}, "abcd"), 4u);
  EXPECT_EQ(bytes_of(ReadBytes{4, false}, "abcde"), 4u) << "the rest is the next read's";
}

TEST(ReadRequest, APartOfACountIsAnsweredWithWhatIsThere) {
  EXPECT_EQ(bytes_of(ReadBytes{4, true}, ""), std::nullopt) << "at least one";
  EXPECT_EQ(bytes_of(ReadBytes{4, true}, "a"), 1u);
  EXPECT_EQ(bytes_of(ReadBytes{4, true}, "abcd"), 4u);
  EXPECT_EQ(bytes_of(ReadBytes{4, true}, "abcde"), 4u);
}

TEST(ReadRequest, ACountOfZeroIsAnsweredAtOnce) {
  EXPECT_EQ(bytes_of(ReadBytes{0, false}, ""), 0u);
  EXPECT_EQ(bytes_of(ReadBytes{0, true}, ""), 0u);
  EXPECT_EQ(bytes_of(ReadBytes{0, false}, "abc"), 0u);
}

TEST(ReadRequest, ACountIsNeverUnsatisfiable) {
  EXPECT_FALSE(is_unsatisfiable(ReadBytes{kNoLimit, false}, std::string(100000, 'x')));
}

// ---- A delimiter

TEST(ReadRequest, ADelimiterIsPartOfTheAnswer) {
  EXPECT_EQ(bytes_of(until("\r\n"), "line\r\n"), 6u);
  EXPECT_EQ(bytes_of(until("\r\n"), "line\r\nnext\r\n"), 6u) << "the first one";
  EXPECT_EQ(bytes_of(until("\r\n"), "\r\n"), 2u);
  EXPECT_EQ(bytes_of(until("\r\n"), "line\r"), std::nullopt);
  EXPECT_EQ(bytes_of(until("\r\n"), "line\n\r"), std::nullopt);
  EXPECT_EQ(bytes_of(until("x"), ""), std::nullopt);
}

TEST(ReadRequest, ADelimiterMayHoldAnyByte) {
  EXPECT_EQ(bytes_of(until(std::string("\0\xff", 2)), std::string_view("ab\0\0\xff", 5)), 5u);
}

TEST(ReadRequest, ADelimiterIsFoundWhereverTheInputIsCut) {
  const std::string input = "a\r\n\r-\r\r\n\r\n-tail";
  const size_t answer = input.find("\r\n\r\n") + 4;
  for (size_t first = 0; first <= input.size(); ++first) {
    for (size_t second = first; second <= input.size(); ++second) {
      ReadRequest request = until("\r\n\r\n");
      std::optional<size_t> found;
      for (const size_t size : {first, second, input.size()}) {
        if (!found.has_value()) {
          found = match(request, std::string_view(input).substr(0, size)).bytes;
        }
      }
      EXPECT_EQ(found, answer) << "cut at " << first << " and " << second;
    }
  }
}

// The delimiter begins with what the input ends with, over and over.
TEST(ReadRequest, ADelimiterThatRepeatsItselfIsFoundByteByByte) {
  const std::string input = std::string(50, 'a') + "b";
  ReadRequest request = until("aaab");
  for (size_t size = 0; size < input.size(); ++size) {
    ASSERT_EQ(match(request, std::string_view(input).substr(0, size)).bytes, std::nullopt);
  }
  EXPECT_EQ(match(request, input).bytes, input.size());
}

TEST(ReadRequest, FragmentationMakesNoDifference) {
  std::mt19937 random(1);
  for (int round = 0; round < 2000; ++round) {
    std::string input, delimiter;
    for (size_t i = random() % 40; i > 0; --i) input += static_cast<char>('a' + random() % 2);
    for (size_t i = 1 + random() % 4; i > 0; --i)
      delimiter += static_cast<char>('a' + random() % 2);
    const size_t position = input.find(delimiter);
    std::optional<size_t> expected;
    if (position != std::string::npos) expected = position + delimiter.size();

    ReadRequest request = until(delimiter);
    std::optional<size_t> found;
    for (size_t size = 0; !found.has_value() && size <= input.size(); size += 1 + random() % 5) {
      found = match(request, std::string_view(input).substr(0, size)).bytes;
    }
    if (!found.has_value()) found = match(request, input).bytes;
    ASSERT_EQ(found, expected) << '"' << delimiter << "\" in \"" << input << '"';
  }
}

// Counts, for each call, the bytes that it may have looked at: those from where the search went on.
// From the beginning each time it would be 2^43 of them.
TEST(ReadRequest, ADelimiterAfter4MiBByteByByteIsLinear) {
  constexpr size_t kBytes = 4 * 1024 * 1024;
  const std::string delimiter = "\r\n\r\n";
  const std::string input = std::string(kBytes, '\r') + delimiter;
  ReadRequest request = until(delimiter);
  uint64_t looked_at = 0;
  for (size_t size = 1; size < input.size(); ++size) {
    looked_at += size - std::get<ReadUntil>(request).searched;
    ASSERT_EQ(match(request, std::string_view(input).substr(0, size)).bytes, std::nullopt);
  }
  EXPECT_EQ(match(request, input).bytes, input.size());
  EXPECT_LE(looked_at, delimiter.size() * input.size());
}

TEST(ReadRequest, NoByteIsPassedOverBeforeTheDelimiterCanHaveBegun) {
  ReadRequest request = until("1234");
  EXPECT_EQ(match(request, "ab").bytes, std::nullopt);
  EXPECT_EQ(std::get<ReadUntil>(request).searched, 0u);
  EXPECT_EQ(match(request, "abcdef").bytes, std::nullopt);
  EXPECT_EQ(std::get<ReadUntil>(request).searched, 3u) << "it may begin with \"def\"";
}

// ---- max_bytes

TEST(ReadRequest, ADelimiterWithinMaxBytesIsAnswered) {
  EXPECT_EQ(bytes_of(until("x", 3), "abx"), 3u) << "exactly";
  EXPECT_EQ(bytes_of(until("x", 4), "abx"), 3u);
  EXPECT_EQ(bytes_of(until("x", 3), "abx" + std::string(1000, 'y')), 3u)
      << "what follows does not count";
}

TEST(ReadRequest, ADelimiterBeyondMaxBytesIsUnsatisfiable) {
  EXPECT_TRUE(is_unsatisfiable(until("x", 2), "abx"));
  EXPECT_TRUE(is_unsatisfiable(until("12", 3), "ab12")) << "its last byte is beyond";
}

TEST(ReadRequest, NoDelimiterIsUnsatisfiableAsSoonAsItCannotComeInTime) {
  EXPECT_FALSE(is_unsatisfiable(until("x", 3), "ab"));
  EXPECT_TRUE(is_unsatisfiable(until("x", 3), "abc"));
  EXPECT_TRUE(is_unsatisfiable(until("x", 0), ""));
}

TEST(ReadRequest, WithoutALimitNothingIsUnsatisfiable) {
  EXPECT_FALSE(is_unsatisfiable(until("x"), std::string(1 << 20, 'y')));
}

// ---- The end

TEST(ReadRequest, UntilCloseIsNeverAnsweredByBytes) {
  EXPECT_EQ(bytes_of(ReadUntilClose{}, ""), std::nullopt);
  EXPECT_EQ(bytes_of(ReadUntilClose{}, std::string(100000, 'x')), std::nullopt);
  EXPECT_FALSE(is_unsatisfiable(ReadUntilClose{}, std::string(100000, 'x')));
}

}  // namespace
}  // namespace gyre::testing
