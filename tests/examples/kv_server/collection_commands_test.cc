// Lists, sets, hashes and sorted sets.

#include <set>

#include "gyre/tests/examples/kv_server/command_fixture.h"

namespace gyre::kv {
namespace {

using ListCommands = CommandTest;
using SetCommands = CommandTest;
using HashCommands = CommandTest;
using SortedSetCommands = CommandTest;

constexpr char kNotACount[] = "-ERR value is out of range, a count is not negative ";

TEST_F(ListCommands, PushAndPopAtBothEnds) {
  EXPECT_EQ(run("RPUSH l b c"), ":2 ");
  EXPECT_EQ(run("LPUSH l a z"), ":4 ");
  EXPECT_EQ(run("LRANGE l 0 -1"), "*4 $1 z $1 a $1 b $1 c ");
  EXPECT_EQ(run("LPOP l"), "$1 z ");
  EXPECT_EQ(run("RPOP l"), "$1 c ");
  EXPECT_EQ(run("LLEN l"), ":2 ");
}

TEST_F(ListCommands, PopWithACountIsAnArray) {
  run("RPUSH l a b c d");
  EXPECT_EQ(run("LPOP l 0"), "*0 ");
  EXPECT_EQ(run("LPOP l 2"), "*2 $1 a $1 b ");
  EXPECT_EQ(run("RPOP l 1"), "*1 $1 d ");
  EXPECT_EQ(run("RPOP l 100"), "*1 $1 c ");
  EXPECT_EQ(run("EXISTS l"), ":0 ");
  EXPECT_EQ(run("LPOP l"), "$-1 ");
  EXPECT_EQ(run("LPOP l 1"), "*-1 ");
  EXPECT_EQ(run("LPOP l -1"), kNotACount);
  EXPECT_EQ(run("LPOP l x"), kNotACount);
  EXPECT_EQ(run("LPOP l 1 1"), kSyntaxError);
}

TEST_F(ListCommands, RangesCountFromBothEndsAndStayInside) {
  run("RPUSH l a b c d");
  EXPECT_EQ(run("LRANGE l 1 2"), "*2 $1 b $1 c ");
  EXPECT_EQ(run("LRANGE l -2 -1"), "*2 $1 c $1 d ");
  EXPECT_EQ(run("LRANGE l -100 0"), "*1 $1 a ");
  EXPECT_EQ(run("LRANGE l 3 100"), "*1 $1 d ");
  EXPECT_EQ(run("LRANGE l 0 9223372036854775807"), run("LRANGE l 0 -1"));
  EXPECT_EQ(run("LRANGE l -9223372036854775808 -1"), run("LRANGE l 0 -1"));
  EXPECT_EQ(run("LRANGE l 2 1"), "*0 ");
  EXPECT_EQ(run("LRANGE l 4 5"), "*0 ");
  EXPECT_EQ(run("LRANGE l 0 -5"), "*0 ");
  EXPECT_EQ(run("LRANGE none 0 -1"), "*0 ");
  EXPECT_EQ(run("LRANGE l a 1"), kNotAnInteger);
}

TEST_F(ListCommands, OtherKindsAreWrong) {
  run("SET s v");
  for (const char* line :
       {"LPUSH s a", "RPUSH s a", "LPOP s", "RPOP s 1", "LLEN s", "LRANGE s 0 1"})
    EXPECT_EQ(run(line), kWrongType) << line;
}

TEST_F(SetCommands, AddCountsWhatIsNew) {
  EXPECT_EQ(run("SADD s a b a"), ":2 ");
  EXPECT_EQ(run("SADD s b c"), ":1 ");
  EXPECT_EQ(run("SCARD s"), ":3 ");
  EXPECT_EQ(run("SCARD none"), ":0 ");
  EXPECT_EQ(run("SMEMBERS none"), "*0 ");
}

TEST_F(SetCommands, PopTakesEachMemberOnce) {
  std::set<std::string> left;
  for (int i = 0; i < 500; ++i) {
    run("SADD s m" + std::to_string(i));
    left.insert("m" + std::to_string(i));
  }
  std::string first_ten;
  while (!left.empty()) {
    const std::string reply = run("SPOP s");  // "$2 m7 "
    const std::string member = reply.substr(reply.find(' ') + 1, reply.rfind(' ') - 3);
    if (left.size() > 490) first_ten += member;
    ASSERT_EQ(left.erase(member), 1u) << reply;
  }
  EXPECT_EQ(run("EXISTS s"), ":0 ");
  EXPECT_NE(first_ten, "m0m1m2m3m4m5m6m7m8m9") << "these are not picked at random";
}

TEST_F(SetCommands, WhatWasPoppedCanBeAddedAgain) {
  run("SADD s a b c");
  EXPECT_EQ(run("SPOP s 2").substr(0, 3), "*2 ");
  EXPECT_EQ(run("SADD s a b c"), ":2 ");
  EXPECT_EQ(run("SCARD s"), ":3 ");
}

TEST_F(SetCommands, PopWithACountIsAnArray) {
  EXPECT_EQ(run("SPOP s"), "$-1 ");
  EXPECT_EQ(run("SPOP s 3"), "*0 ");
  run("SADD s a");
  EXPECT_EQ(run("SPOP s 0"), "*0 ");
  EXPECT_EQ(run("SPOP s -1"), kNotACount);
  EXPECT_EQ(run("SPOP s 9"), "*1 $1 a ");
  EXPECT_EQ(run("SPOP s 1 1"), kSyntaxError);
}

TEST_F(SetCommands, OtherKindsAreWrong) {
  run("SET s v");
  for (const char* line : {"SADD s a", "SPOP s", "SPOP s 1", "SCARD s", "SMEMBERS s"})
    EXPECT_EQ(run(line), kWrongType) << line;
}

TEST_F(HashCommands, SetCountsNewFieldsAndGetGivesTheirValues) {
  EXPECT_EQ(run("HSET h a 1 b 2"), ":2 ");
  EXPECT_EQ(run("HSET h a 3 c 4"), ":1 ");
  EXPECT_EQ(run("HGET h a"), "$1 3 ");
  EXPECT_EQ(run("HGET h none"), "$-1 ");
  EXPECT_EQ(run("HGET none a"), "$-1 ");
  EXPECT_EQ(run("HLEN h"), ":3 ");
  EXPECT_EQ(run("HSET h a"), "-ERR wrong number of arguments for 'hset' ");
  EXPECT_EQ(run("HSET h a 1 b"), "-ERR wrong number of arguments for 'hset' ");
}

TEST_F(HashCommands, DeletingTheLastFieldDeletesTheKey) {
  run("HSET h a 1 b 2");
  EXPECT_EQ(run("HDEL h a none"), ":1 ");
  EXPECT_EQ(run("HGETALL h"), "*2 $1 b $1 2 ");
  EXPECT_EQ(run("HDEL h b"), ":1 ");
  EXPECT_EQ(run("EXISTS h"), ":0 ");
  EXPECT_EQ(run("HGETALL h"), "*0 ");
}

TEST_F(HashCommands, OtherKindsAreWrong) {
  run("SET s v");
  for (const char* line : {"HSET s a 1", "HGET s a", "HDEL s a", "HLEN s", "HGETALL s"})
    EXPECT_EQ(run(line), kWrongType) << line;
}

TEST_F(SortedSetCommands, PopMinGivesTheLowestScoresFirst) {
  EXPECT_EQ(run("ZADD z 3 c 1 a 2 b 1 aa"), ":4 ");
  EXPECT_EQ(run("ZPOPMIN z"), "*2 $1 a $1 1 ");
  EXPECT_EQ(run("ZPOPMIN z 2"), "*4 $2 aa $1 1 $1 b $1 2 ");
  EXPECT_EQ(run("ZPOPMIN z 9"), "*2 $1 c $1 3 ");
  EXPECT_EQ(run("EXISTS z"), ":0 ");
  EXPECT_EQ(run("ZPOPMIN z"), "*0 ");
  EXPECT_EQ(run("ZPOPMIN z -1"), kNotACount);
}

TEST_F(SortedSetCommands, AMemberThatIsThereGetsTheNewScore) {
  run("ZADD z 1 a 2 b");
  EXPECT_EQ(run("ZADD z 3 a"), ":0 ");
  EXPECT_EQ(run("ZADD z CH 4 a 2 b 5 c"), ":2 ");
  EXPECT_EQ(run("ZSCORE z a"), "$1 4 ");
  EXPECT_EQ(run("ZCARD z"), ":3 ");
  EXPECT_EQ(run("ZPOPMIN z"), "*2 $1 b $1 2 ");
}

TEST_F(SortedSetCommands, NxAddsOnlyAndXxChangesOnly) {
  EXPECT_EQ(run("ZADD z XX 1 a"), ":0 ");
  EXPECT_EQ(run("EXISTS z"), ":0 ");
  run("ZADD z 1 a");
  EXPECT_EQ(run("ZADD z NX 5 a 6 b"), ":1 ");
  EXPECT_EQ(run("ZADD z XX CH 7 a 8 c"), ":1 ");
  EXPECT_EQ(run("ZSCORE z a"), "$1 7 ");
  EXPECT_EQ(run("ZSCORE z c"), "$-1 ");
  EXPECT_EQ(run("ZADD z NX XX 1 a"), kSyntaxError);
}

TEST_F(SortedSetCommands, ScoresAreNumbersOfAnyKind) {
  EXPECT_EQ(run("ZADD z -inf a 1.5 b 1e300 c +inf d 100000 e 0.1 f"), ":6 ");
  EXPECT_EQ(run("ZSCORE z a"), "$4 -inf ");
  EXPECT_EQ(run("ZSCORE z b"), "$3 1.5 ");
  EXPECT_EQ(run("ZSCORE z c"), "$6 1e+300 ");
  EXPECT_EQ(run("ZSCORE z d"), "$3 inf ");
  EXPECT_EQ(run("ZSCORE z e"), "$6 100000 ");
  EXPECT_EQ(run("ZSCORE z f"), "$3 0.1 ");
  EXPECT_EQ(run("ZPOPMIN z"), "*2 $1 a $4 -inf ");
}

TEST_F(SortedSetCommands, AWrongScoreChangesNothing) {
  for (const char* score : {"x", "nan", "''", "1x"})
    EXPECT_EQ(run(std::string("ZADD z 1 a ") + score + " b"), "-ERR a score is not a valid float ");
  EXPECT_EQ(run("ZADD z 1 a 2"), kSyntaxError);
  EXPECT_EQ(run("ZADD z NX XX"), kSyntaxError);
  EXPECT_EQ(run("EXISTS z"), ":0 ");
}

TEST_F(SortedSetCommands, OtherKindsAreWrong) {
  run("SET s v");
  for (const char* line : {"ZADD s 1 a", "ZPOPMIN s", "ZCARD s", "ZSCORE s a"})
    EXPECT_EQ(run(line), kWrongType) << line;
}

}  // namespace
}  // namespace gyre::kv
