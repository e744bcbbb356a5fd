// Keys, whatever they hold: existence, expiry, sweeping.

#include <chrono>

#include "gyre/tests/examples/kv_server/command_fixture.h"

namespace gyre::kv {
namespace {

using namespace std::chrono_literals;
using KeyCommands = CommandTest;
using Expiry = CommandTest;

TEST_F(KeyCommands, DelCountsWhatWasThereAndExistsWhatIs) {
  run("MSET a 1 b 2");
  run("RPUSH c 3");
  EXPECT_EQ(run("EXISTS a b c none a"), ":4 ");
  EXPECT_EQ(run("DEL a none c a"), ":2 ");
  EXPECT_EQ(run("EXISTS a b c"), ":1 ");
  EXPECT_EQ(run("UNLINK b"), ":1 ");
}

TEST_F(KeyCommands, TypeNamesTheKind) {
  run("SET s v");
  run("RPUSH l v");
  run("SADD e v");
  run("HSET h f v");
  run("ZADD z 1 v");
  EXPECT_EQ(run("TYPE s"), "+string ");
  EXPECT_EQ(run("TYPE l"), "+list ");
  EXPECT_EQ(run("TYPE e"), "+set ");
  EXPECT_EQ(run("TYPE h"), "+hash ");
  EXPECT_EQ(run("TYPE z"), "+zset ");
  EXPECT_EQ(run("TYPE none"), "+none ");
}

TEST_F(KeyCommands, DbsizeCountsAndFlushallEmpties) {
  run("MSET a 1 b 2 c 3");
  run("EXPIRE a 10");
  EXPECT_EQ(run("DBSIZE"), ":3 ");
  EXPECT_EQ(run("FLUSHALL"), "+OK ");
  EXPECT_EQ(run("DBSIZE"), ":0 ");
  clock_.advance(1h);
  EXPECT_EQ(keys_.sweep(10), 0u);
  EXPECT_EQ(run("FLUSHDB ASYNC"), "+OK ");
}

TEST_F(Expiry, TtlTellsWhatIsLeft) {
  EXPECT_EQ(run("TTL k"), ":-2 ");
  run("SET k v");
  EXPECT_EQ(run("TTL k"), ":-1 ");
  EXPECT_EQ(run("EXPIRE k 10"), ":1 ");
  EXPECT_EQ(run("TTL k"), ":10 ");
  clock_.advance(400ms);
  EXPECT_EQ(run("TTL k"), ":10 ");
  EXPECT_EQ(run("PTTL k"), ":9600 ");
  clock_.advance(9100ms);
  EXPECT_EQ(run("TTL k"), ":1 ");
  clock_.advance(1ms);
  EXPECT_EQ(run("TTL k"), ":0 ");
  clock_.advance(499ms);
  EXPECT_EQ(run("TTL k"), ":-2 ");
  EXPECT_EQ(run("EXPIRE k 10"), ":0 ");
}

TEST_F(Expiry, EveryCommandTakesWhatHasExpiredForGone) {
  const auto set_and_wait = [this] {
    run("RPUSH k x");
    run("PEXPIRE k 5");
    clock_.advance(5ms);
  };
  for (const auto& [line, reply] : {std::pair{"GET k", "$-1 "},
                                    {"EXISTS k", ":0 "},
                                    {"DEL k", ":0 "},
                                    {"TYPE k", "+none "},
                                    {"INCR k", ":1 "},
                                    {"APPEND k y", ":1 "},
                                    {"LPUSH k y", ":1 "},
                                    {"SET k y XX", "$-1 "},
                                    {"SADD k y", ":1 "},
                                    {"PERSIST k", ":0 "}}) {
    set_and_wait();
    EXPECT_EQ(run(line), reply) << line;
    run("DEL k");
  }
}

// Guards a plain SET over a key that has expired and was not swept: its time must not stay.
TEST_F(Expiry, AKeyThatIsSetAnewHasNoExpiry) {
  run("SET k v PX 5");
  clock_.advance(6ms);
  run("SET k w");
  EXPECT_EQ(run("TTL k"), ":-1 ");
  clock_.advance(1h);
  EXPECT_EQ(keys_.sweep(10), 0u);
  EXPECT_EQ(run("GET k"), "$1 w ");
}

TEST_F(Expiry, AKeyThatWasMadeAnewHasNoExpiry) {
  run("SET k 5 PX 5");
  clock_.advance(6ms);
  EXPECT_EQ(run("INCR k"), ":1 ");
  EXPECT_EQ(run("TTL k"), ":-1 ");
}

TEST_F(Expiry, ATimeThatIsPastDeletes) {
  run("MSET a 1 b 2");
  EXPECT_EQ(run("EXPIRE a 0"), ":1 ");
  EXPECT_EQ(run("EXPIRE b -5"), ":1 ");
  EXPECT_EQ(run("DBSIZE"), ":0 ");
}

TEST_F(Expiry, PersistRemovesIt) {
  run("SET k v EX 1");
  EXPECT_EQ(run("PERSIST k"), ":1 ");
  EXPECT_EQ(run("PERSIST k"), ":0 ");
  EXPECT_EQ(run("TTL k"), ":-1 ");
}

TEST_F(Expiry, WrongTimesAreErrors) {
  run("SET k v");
  EXPECT_EQ(run("EXPIRE k x"), kNotAnInteger);
  EXPECT_EQ(run("EXPIRE k 9223372036854775807"), "-ERR invalid expire time ");
  EXPECT_EQ(run("PEXPIRE k 9223372036854775807"), ":1 ");  // longer than the clock runs
  EXPECT_EQ(run("TTL k"), ":-1 ");
}

TEST_F(Expiry, ASweepErasesSoManyTheOldestFirst) {
  run("SET late v PX 30");
  run("SET first v PX 10");
  run("SET second v PX 20");
  run("SET never v");
  clock_.advance(25ms);
  EXPECT_EQ(run("DBSIZE"), ":4 ");
  EXPECT_EQ(keys_.sweep(1), 1u);
  EXPECT_EQ(run("DBSIZE"), ":3 ");
  EXPECT_EQ(run("EXISTS second"), ":0 ");  // looked at, and so erased
  EXPECT_EQ(keys_.sweep(10), 0u);
  clock_.advance(5ms);
  EXPECT_EQ(keys_.sweep(10), 1u);
  EXPECT_EQ(run("DBSIZE"), ":1 ");
}

// Guards the order of expiries: a key whose time is set again and again is in it once.
TEST_F(Expiry, SettingItAnewLeavesNothingBehind) {
  for (int i = 1; i <= 100; ++i) run("SET k v PX " + std::to_string(i));
  clock_.advance(99ms);
  EXPECT_EQ(keys_.sweep(1000), 0u);
  clock_.advance(1ms);
  EXPECT_EQ(keys_.sweep(1000), 1u);
}

}  // namespace
}  // namespace gyre::kv
