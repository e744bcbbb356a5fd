// SET and its options, the other commands of strings, and counters.

#include <chrono>

#include "gyre/tests/examples/kv_server/command_fixture.h"

namespace gyre::kv {
namespace {

using namespace std::chrono_literals;
using StringCommands = CommandTest;
using SetCommand = CommandTest;
using CounterCommands = CommandTest;

TEST_F(StringCommands, GetGivesWhatWasSet) {
  EXPECT_EQ(run("GET k"), "$-1 ");
  EXPECT_EQ(run("set k hello"), "+OK ");
  EXPECT_EQ(run("gEt k"), "$5 hello ");
  EXPECT_EQ(run("SET k ''"), "+OK ");
  EXPECT_EQ(run("GET k"), "$0  ");
}

TEST_F(StringCommands, AppendAddsAndMakesTheKey) {
  EXPECT_EQ(run("APPEND k ab"), ":2 ");
  EXPECT_EQ(run("APPEND k cd"), ":4 ");
  EXPECT_EQ(run("GET k"), "$4 abcd ");
  EXPECT_EQ(run("STRLEN k"), ":4 ");
  EXPECT_EQ(run("STRLEN none"), ":0 ");
}

TEST_F(StringCommands, SeveralKeysAtOnce) {
  EXPECT_EQ(run("MSET a 1 b 2 a 3"), "+OK ");
  EXPECT_EQ(run("RPUSH l x"), ":1 ");
  EXPECT_EQ(run("MGET a none b l"), "*4 $1 3 $-1 $1 2 $-1 ");
}

TEST_F(StringCommands, OtherKindsAreWrong) {
  run("RPUSH l x");
  for (const char* line : {"GET l", "APPEND l x", "STRLEN l", "INCR l", "SET l v GET"})
    EXPECT_EQ(run(line), kWrongType) << line;
  EXPECT_EQ(run("SET l v"), "+OK ");
  EXPECT_EQ(run("GET l"), "$1 v ");
}

TEST_F(StringCommands, TheNumberOfArgumentsIsChecked) {
  EXPECT_EQ(run("GET"), "-ERR wrong number of arguments for 'get' ");
  EXPECT_EQ(run("GET a b"), "-ERR wrong number of arguments for 'get' ");
  EXPECT_EQ(run("MSET a"), "-ERR wrong number of arguments for 'mset' ");
  EXPECT_EQ(run("MSET a 1 b"), "-ERR wrong number of arguments for 'mset' ");
  EXPECT_EQ(run("MGET"), "-ERR wrong number of arguments for 'mget' ");
}

TEST_F(StringCommands, AnUnknownNameIsAnErrorOfOneLine) {
  EXPECT_EQ(run("FROB x"), "-ERR unknown command 'FROB' ");
  EXPECT_EQ(run("\"a\\r\\nb\""), "-ERR unknown command 'a??b' ");
  EXPECT_EQ(run("\"\\x00get\" k"), "-ERR unknown command '?get' ");
  EXPECT_EQ(run("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
            "-ERR unknown command 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa' ");
}

TEST_F(SetCommand, NxSetsWhatIsNewAndXxWhatIsNot) {
  EXPECT_EQ(run("SET k 1 XX"), "$-1 ");
  EXPECT_EQ(run("EXISTS k"), ":0 ");
  EXPECT_EQ(run("SET k 1 nx"), "+OK ");
  EXPECT_EQ(run("SET k 2 NX"), "$-1 ");
  EXPECT_EQ(run("SET k 3 xx"), "+OK ");
  EXPECT_EQ(run("GET k"), "$1 3 ");
  EXPECT_EQ(run("SETNX k 4"), ":0 ");
  EXPECT_EQ(run("SETNX n 4"), ":1 ");
}

TEST_F(SetCommand, GetGivesTheOldValue) {
  EXPECT_EQ(run("SET k 1 GET"), "$-1 ");
  EXPECT_EQ(run("SET k 2 GET"), "$1 1 ");
  EXPECT_EQ(run("SET k 3 NX GET"), "$1 2 ");
  EXPECT_EQ(run("GET k"), "$1 2 ");
}

TEST_F(SetCommand, ExAndPxSayHowLongItLives) {
  EXPECT_EQ(run("SET k v EX 10"), "+OK ");
  EXPECT_EQ(run("TTL k"), ":10 ");
  EXPECT_EQ(run("SET k v PX 1500"), "+OK ");
  EXPECT_EQ(run("PTTL k"), ":1500 ");
  EXPECT_EQ(run("SETEX k 3 v"), "+OK ");
  EXPECT_EQ(run("TTL k"), ":3 ");
  EXPECT_EQ(run("PSETEX k 70 v"), "+OK ");
  clock_.advance(69ms);
  EXPECT_EQ(run("GET k"), "$1 v ");
  clock_.advance(1ms);
  EXPECT_EQ(run("GET k"), "$-1 ");
}

TEST_F(SetCommand, APlainSetForgetsTheExpiryAndKeepttlKeepsIt) {
  run("SET k 1 EX 10");
  EXPECT_EQ(run("SET k 2 KEEPTTL"), "+OK ");
  EXPECT_EQ(run("TTL k"), ":10 ");
  EXPECT_EQ(run("SET k 3"), "+OK ");
  EXPECT_EQ(run("TTL k"), ":-1 ");
}

TEST_F(SetCommand, WrongOptionsChangeNothing) {
  for (const char* options : {"FROB", "EX", "EX 1 PX 1", "EX 1 EX 1", "NX XX", "EX 1 KEEPTTL"})
    EXPECT_EQ(run(std::string("SET k v ") + options), kSyntaxError) << options;
  for (const char* options : {"EX x", "EX 1.5", "PX ''", "EX 99999999999999999999", "EX ' 1'"})
    EXPECT_EQ(run(std::string("SET k v ") + options), kNotAnInteger) << options;
  for (const char* options : {"EX 0", "PX -1", "EX 9223372036854775807"})
    EXPECT_EQ(run(std::string("SET k v ") + options), "-ERR invalid expire time ") << options;
  EXPECT_EQ(run("SETEX k 0 v"), "-ERR invalid expire time ");
  EXPECT_EQ(run("SETEX k x v"), kNotAnInteger);
  EXPECT_EQ(run("EXISTS k"), ":0 ");
}

TEST_F(CounterCommands, Count) {
  EXPECT_EQ(run("INCR n"), ":1 ");
  EXPECT_EQ(run("INCRBY n 41"), ":42 ");
  EXPECT_EQ(run("DECR n"), ":41 ");
  EXPECT_EQ(run("DECRBY n 50"), ":-9 ");
  EXPECT_EQ(run("GET n"), "$2 -9 ");
}

TEST_F(CounterCommands, KeepTheExpiry) {
  run("SET n 5 EX 100");
  EXPECT_EQ(run("INCR n"), ":6 ");
  EXPECT_EQ(run("TTL n"), ":100 ");
}

TEST_F(CounterCommands, RefuseWhatIsNoNumberOrTooLarge) {
  for (const char* value : {"x", "''", "1.5", "' 1'", "+1", "01", "-0", "9223372036854775808"}) {
    run(std::string("SET n ") + value);
    EXPECT_EQ(run("INCR n"), kNotAnInteger) << value;
  }
  EXPECT_EQ(run("INCRBY n x"), kNotAnInteger);
  run("SET n 9223372036854775807");
  EXPECT_EQ(run("INCR n"), "-ERR the number would overflow ");
  EXPECT_EQ(run("DECRBY n -9223372036854775808"), kNotAnInteger);
  run("SET n -9223372036854775808");
  EXPECT_EQ(run("DECR n"), "-ERR the number would overflow ");
  EXPECT_EQ(run("GET n"), "$20 -9223372036854775808 ");
}

}  // namespace
}  // namespace gyre::kv
