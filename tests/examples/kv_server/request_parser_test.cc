#include "gyre/examples/kv_server/request_parser.h"

#include <random>
#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace gyre::kv {
namespace {

using Outcome = RequestParser::Outcome;

// What a parser found in a stream: the requests, then how it ended.
struct Found {
  std::vector<std::vector<std::string>> requests;
  std::string error;
  size_t rest = 0;  // bytes of a request that has not come whole

  bool operator==(const Found&) const = default;
};

// Feeds the stream in pieces of the sizes that `next_size` gives. The bytes lie elsewhere at every
// call, and what lay there before is gone: what a connection's buffer may do.
template <class F>
Found parse_in_pieces(std::string_view stream, F next_size, const RequestLimits& limits = {}) {
  RequestParser parser(limits);
  Found found;
  std::string unparsed;
  while (!stream.empty()) {
    const size_t size = std::min<size_t>(next_size(), stream.size());
    unparsed = std::string(unparsed).append(stream.substr(0, size));
    stream.remove_prefix(size);
    Outcome outcome;
    while ((outcome = parser.parse(unparsed)) == Outcome::kRequest) {
      const Args args = parser.args();
      std::vector<std::string>& request = found.requests.emplace_back();
      for (size_t i = 0; i < args.size(); ++i) request.emplace_back(args[i]);
      unparsed.erase(0, parser.size());
    }
    if (outcome == Outcome::kError) {
      found.error = parser.error();
      return found;
    }
  }
  found.rest = unparsed.size();
  return found;
}

Found parse(std::string_view stream, const RequestLimits& limits = {}) {
  return parse_in_pieces(
      stream, [&] { return stream.size(); }, limits);
}

// Whole, byte by byte, and in random pieces it has to be the same.
Found parse_every_way(std::string_view stream, const RequestLimits& limits = {}) {
  const Found whole = parse(stream, limits);
  EXPECT_EQ(parse_in_pieces(
                stream, [] { return 1; }, limits),
            whole);
  std::minstd_rand random(stream.size());
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(parse_in_pieces(
                  stream, [&] { return 1 + random() % 9; }, limits),
              whole);
  }
  return whole;
}

std::string error_of(std::string_view stream, const RequestLimits& limits = {}) {
  const Found found = parse_every_way(stream, limits);
  EXPECT_TRUE(found.requests.empty());
  return found.error;
}

using Requests = std::vector<std::vector<std::string>>;

TEST(RequestParser, TakesArraysOneAfterTheOther) {
  const Found found = parse_every_way(
      "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n*1\r\n$4\r\nPING\r\n*3\r\n$3\r\nSET\r\n$0\r\n\r\n$"
      "2\r\n\r\n\r\n");
  EXPECT_EQ(found.requests, (Requests{{"GET", "k"}, {"PING"}, {"SET", "", "\r\n"}}));
  EXPECT_EQ(found.rest, 0u);
}

TEST(RequestParser, CopiesNothingOfAnArrayThatCameWhole) {
  const std::string stream = "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n";
  RequestParser parser;
  ASSERT_EQ(parser.parse(stream), Outcome::kRequest);
  EXPECT_EQ(parser.args()[0].data(), stream.data() + 8);
  EXPECT_EQ(parser.args()[1].data(), stream.data() + 17);
}

TEST(RequestParser, AnEmptyArrayOrLineIsARequestForNothing) {
  EXPECT_EQ(parse_every_way("*0\r\n*-1\r\n\r\n\n  \r\nPING\r\n").requests,
            (Requests{{}, {}, {}, {}, {}, {"PING"}}));
}

TEST(RequestParser, LeavesWhatHasNotComeWhole) {
  const Found found = parse_every_way("PING\n*2\r\n$3\r\nGET\r\n$1\r\n");
  EXPECT_EQ(found.requests, (Requests{{"PING"}}));
  EXPECT_EQ(found.rest, std::string_view("*2\r\n$3\r\nGET\r\n$1\r\n").size());
}

TEST(RequestParser, ALineIsSplitAtSpacesAndQuotes) {
  EXPECT_EQ(parse_every_way("set  a\tb\r\nset 'a b' \"c\\x41\\n\\\"\"\n'it\\'s' \"\"\r\n").requests,
            (Requests{{"set", "a", "b"}, {"set", "a b", "cA\n\""}, {"it's", ""}}));
}

TEST(RequestParser, SaysWhatIsWrong) {
  EXPECT_EQ(error_of("GET 'k\r\n"),
            "ERR Protocol error: a quote is not closed, or not followed by a space");
  EXPECT_EQ(error_of("GET 'k'k\r\n"),
            "ERR Protocol error: a quote is not closed, or not followed by a space");
  EXPECT_EQ(error_of("*x\r\n"), "ERR Protocol error: invalid number of arguments");
  EXPECT_EQ(error_of("*\r\n"), "ERR Protocol error: invalid number of arguments");
  EXPECT_EQ(error_of("*1\n$4\r\n"), "ERR Protocol error: invalid number of arguments");
  EXPECT_EQ(error_of("*1\r$4\r\n"), "ERR Protocol error: invalid number of arguments");
  EXPECT_EQ(error_of("*9999999999999999999999\r\n"),
            "ERR Protocol error: invalid number of arguments");
  EXPECT_EQ(error_of("*1\r\n:4\r\nPING\r\n"),
            "ERR Protocol error: expected '$' before an argument");
  EXPECT_EQ(error_of("*1\r\n$-1\r\n"), "ERR Protocol error: invalid length of an argument");
  EXPECT_EQ(error_of("*1\r\n$ 4\r\n"), "ERR Protocol error: invalid length of an argument");
  EXPECT_EQ(error_of("*1\r\n$3\r\nPING\r\n"),
            "ERR Protocol error: an argument is longer than its announced length");
}

TEST(RequestParser, HoldsTheLimits) {
  const RequestLimits limits{
      .inline_bytes = 16, .arguments = 3, .bulk_bytes = 10, .request_bytes = 40};
  EXPECT_EQ(parse_every_way("aaaaaaaaaaaaaaa\n", limits).requests.size(), 1u);
  EXPECT_EQ(error_of("aaaaaaaaaaaaaaaa\n", limits), "ERR Protocol error: the line is too long");
  EXPECT_EQ(error_of("aaaaaaaaaaaaaaaaaaaaaaaa", limits),
            "ERR Protocol error: the line is too long");
  EXPECT_EQ(error_of("*4\r\n", limits), "ERR Protocol error: invalid number of arguments");
  EXPECT_EQ(error_of("*1\r\n$11\r\n", limits), "ERR Protocol error: invalid length of an argument");
  EXPECT_EQ(error_of("*3\r\n$10\r\n0123456789\r\n$10\r\n0123456789\r\n$10\r\n", limits),
            "ERR Protocol error: the request is too long");
}

TEST(RequestParser, AfterAnErrorThereIsNothingMore) {
  RequestParser parser;
  EXPECT_EQ(parser.parse("*x"), Outcome::kError);
  EXPECT_EQ(parser.parse("PING\r\n"), Outcome::kError);
}

// Guards the running time: each byte of it is looked at once, however it comes.
TEST(RequestParser, ALargeRequestByteByByteIsLinear) {
  constexpr int kArguments = 20000;
  std::string stream = "*" + std::to_string(kArguments) + "\r\n";
  for (int i = 0; i < kArguments; ++i) stream += "$1\r\nx\r\n";
  RequestParser parser;
  // Quadratic it would be 10^9 arguments, and minutes.
  for (size_t size = 1; size < stream.size(); ++size)
    ASSERT_EQ(parser.parse(std::string_view(stream).substr(0, size)), Outcome::kIncomplete);
  ASSERT_EQ(parser.parse(stream), Outcome::kRequest);
  EXPECT_EQ(parser.args().size(), size_t{kArguments});
}

// A stream of requests with a mistake here and there; most of it is close to the protocol.
std::string random_stream(std::minstd_rand& random) {
  static constexpr std::string_view kPieces[] = {
      "*1\r\n", "*2\r\n", "*3\r\n", "$1\r\n",   "$3\r\n", "x\r\n", "GET\r\n", "$0\r\n\r\n",
      "PING\n", "'a b'",  " ",      "\"\\x4",   "\r",     "\n",    "*-1\r\n", "$-1\r\n",
      "*",      "$",      "1",      "99999999", "\\",     "\0\xff"};
  std::string stream;
  for (int left = 1 + random() % 30; left > 0; --left)
    stream += random() % 40 == 0 ? std::string(1, static_cast<char>(random()))
                                 : std::string(kPieces[random() % std::size(kPieces)]);
  return stream;
}

TEST(RequestParser, RandomStreamsGiveTheSameHoweverTheyAreCut) {
  std::minstd_rand random(1);
  const RequestLimits limits{
      .inline_bytes = 24, .arguments = 1000, .bulk_bytes = 1000, .request_bytes = 2000};
  size_t requests = 0, errors = 0;
  for (int i = 0; i < 3000; ++i) {
    const Found found = parse_every_way(random_stream(random), limits);
    requests += found.requests.size();
    errors += !found.error.empty();
    if (HasFailure()) return;
  }
  // Of both there were many, so that the comparison says something.
  EXPECT_GT(requests, 1000u);
  EXPECT_GT(errors, 1000u);
}

TEST(RequestParser, RandomBytesDoNoHarm) {
  std::minstd_rand random(2);
  for (int i = 0; i < 3000; ++i) {
    std::string stream(1 + random() % 100, '\0');
    for (char& c : stream) c = static_cast<char>(random() >> 8);
    if (i % 2 == 0) stream[0] = '*';
    parse_every_way(stream);
  }
}

}  // namespace
}  // namespace gyre::kv
