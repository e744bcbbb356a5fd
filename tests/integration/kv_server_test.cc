// The key-value server as its users meet it: under redis' own tools.

#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "gyre/loop/unique_fd.h"
#include "gyre/net/socket_address.h"
#include "gyre/tests/integration/process.h"

namespace gyre::testing {
namespace {

using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;
using ::testing::Not;

constexpr char kCli[] = "/usr/bin/redis-cli";
constexpr char kBenchmark[] = "/usr/bin/redis-benchmark";

bool can_run(const char* program) { return ::access(program, X_OK) == 0; }

// A server with so many loops, from "listening on ..." to SIGTERM, after which it has to end well.
class KvServer : public ::testing::TestWithParam<int> {
 protected:
  KvServer()
      : server_(
            {runfile("examples/kv_server/kv_server"), "--threads=" + std::to_string(GetParam())}) {
    EXPECT_TRUE(server_.wait_for_output("\n")) << server_.err();
    const std::string& line = server_.out();
    port_ = line.substr(line.rfind(':') + 1, line.size() - line.rfind(':') - 2);
  }
  ~KvServer() override {
    server_.signal(SIGTERM);
    EXPECT_EQ(server_.wait(), 0) << server_.err();
    EXPECT_THAT(server_.err(), MatchesRegex("[0-9]+ connections served, 0 cut off[^\n]*\n"));
    EXPECT_THAT(server_.out(), HasSubstr("connections"));
  }

  // What redis-cli prints for a command.
  std::string ask(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {kCli, "-p", port_});
    Process cli(arguments);
    EXPECT_EQ(cli.wait(), 0) << cli.err();
    return cli.out();
  }

  UniqueFd connect() {
    UniqueFd fd(::socket(AF_INET, SOCK_STREAM, 0));
    const auto address = SocketAddress::parse("127.0.0.1", static_cast<uint16_t>(std::stoi(port_)));
    EXPECT_EQ(::connect(fd.get(), address->data(), address->size()), 0);
    return fd;
  }

  Process server_;
  std::string port_;
};

INSTANTIATE_TEST_SUITE_P(Threads, KvServer, ::testing::Values(1, 2));

// What redis-benchmark does if it is not told what to do, each of its tests.
TEST_P(KvServer, RunsTheWholeDefaultSetOfRedisBenchmark) {
  if (!can_run(kBenchmark)) GTEST_SKIP() << "needs " << kBenchmark << ": tools/setup test";
  for (const char* pipeline : {"1", "16"}) {
    Process benchmark({kBenchmark, "-p", port_, "-n", "2000", "-P", pipeline, "-q"});
    EXPECT_EQ(benchmark.wait(), 0) << benchmark.err();
    EXPECT_EQ(benchmark.err(), "");
    for (const char* test : {"PING_INLINE",
                             "PING_MBULK",
                             "SET",
                             "GET",
                             "INCR",
                             "LPUSH",
                             "RPUSH",
                             "LPOP",
                             "RPOP",
                             "SADD",
                             "HSET",
                             "SPOP",
                             "ZADD",
                             "ZPOPMIN",
                             "LPUSH (needed to benchmark LRANGE)",
                             "LRANGE_100 (first 100 elements)",
                             "LRANGE_300 (first 300 elements)",
                             "LRANGE_500 (first 500 elements)",
                             "LRANGE_600 (first 600 elements)",
                             "MSET (10 keys)"})
      EXPECT_THAT(benchmark.out(), HasSubstr(std::string(test) + ": ")) << pipeline;
    EXPECT_THAT(benchmark.out(), Not(ContainsRegex("[Ee]rror|WARNING"))) << pipeline;
  }
  if (can_run(kCli)) {
    EXPECT_EQ(ask({"GET", "counter:__rand_int__"}), "4000\n");
  }
}

TEST_P(KvServer, RandomKeysOfRedisBenchmarkAreSpreadOverTheLoops) {
  if (!can_run(kBenchmark)) GTEST_SKIP() << "needs " << kBenchmark << ": tools/setup test";
  Process benchmark({kBenchmark, "-p", port_, "-n", "5000", "-r", "1000", "-P", "8", "-q", "-t",
                     "set,get,incr,mset"});
  EXPECT_EQ(benchmark.wait(), 0) << benchmark.err();
  EXPECT_THAT(benchmark.out(), Not(ContainsRegex("[Ee]rror")));
}

TEST_P(KvServer, AnswersRedisCli) {
  if (!can_run(kCli)) GTEST_SKIP() << "needs " << kCli << ": tools/setup test";
  EXPECT_EQ(ask({"PING"}), "PONG\n");
  EXPECT_EQ(ask({"SET", "greeting", "hello world", "EX", "100"}), "OK\n");
  EXPECT_EQ(ask({"GET", "greeting"}), "hello world\n");
  EXPECT_THAT(ask({"TTL", "greeting"}), ContainsRegex("^[0-9]+\n$"));
  EXPECT_EQ(ask({"GET", "none"}), "\n");
  EXPECT_EQ(ask({"MSET", "a", "1", "b", "2"}), "OK\n");
  EXPECT_EQ(ask({"MGET", "a", "none", "b"}), "1\n\n2\n");
  EXPECT_EQ(ask({"INCRBY", "a", "41"}), "42\n");
  EXPECT_EQ(ask({"RPUSH", "l", "x", "y"}), "2\n");
  EXPECT_EQ(ask({"LRANGE", "l", "0", "-1"}), "x\ny\n");
  EXPECT_THAT(ask({"GET", "l"}), HasSubstr("WRONGTYPE"));
  EXPECT_EQ(ask({"DEL", "a", "b", "l", "greeting"}), "4\n");
  EXPECT_EQ(ask({"DBSIZE"}), "0\n");
  EXPECT_THAT(ask({"INFO"}), HasSubstr("redis_version:"));
  EXPECT_THAT(ask({"-3", "PING"}), HasSubstr("PONG"));  // it asks for RESP3, and does without
}

// redis-cli reads commands from a pipe, and sends them over one connection.
TEST_P(KvServer, AnswersAScriptOfRedisCli) {
  if (!can_run(kCli)) GTEST_SKIP() << "needs " << kCli << ": tools/setup test";
  Process cli({"/bin/sh", "-c",
               "printf 'SET a 1\\nINCR a\\nHSET h f v\\nHGET h f\\nZADD z 2 b 1 a\\nZPOPMIN z\\n"
               "SADD s m\\nSPOP s\\nFROB\\nDBSIZE\\n' | " +
                   std::string(kCli) + " -p " + port_});
  EXPECT_EQ(cli.wait(), 0) << cli.err();
  EXPECT_EQ(cli.out(), "OK\n2\n1\nv\n2\na\n1\n1\nm\nERR unknown command 'FROB'\n\n3\n");
}

TEST_P(KvServer, AnswersLinesOfAPersonAndPipelines) {
  const UniqueFd fd = connect();
  const std::string requests =
      "PING\r\nset k 'a b'\r\nGET k\n*2\r\n$3\r\nGET\r\n$1\r\nk\r\n\r\nQUIT\r\n";
  ASSERT_EQ(::send(fd.get(), requests.data(), requests.size(), 0),
            static_cast<ssize_t>(requests.size()));
  std::string replies(1000, '\0');
  const ssize_t count = ::recv(fd.get(), replies.data(), replies.size(), MSG_WAITALL);
  ASSERT_GT(count, 0);
  replies.resize(count);  // up to the server's end
  EXPECT_EQ(replies, "+PONG\r\n+OK\r\n$3\r\na b\r\n$3\r\na b\r\n+OK\r\n");
}

TEST_P(KvServer, EndsWithClientsThatAreStillThere) {
  const UniqueFd idle = connect(), halfway = connect();
  ASSERT_EQ(::send(halfway.get(), "*2\r\n$3\r\nGE", 10, 0), 10);
  char byte;
  ASSERT_EQ(::send(idle.get(), "PING\r\n", 6, 0), 6);
  ASSERT_EQ(::recv(idle.get(), &byte, 1, 0), 1);
}

TEST(KvServerFlags, AreThoseOfEveryServer) {
  Process help({runfile("examples/kv_server/kv_server"), "--help"});
  EXPECT_EQ(help.wait(), 0);
  for (const char* flag :
       {"--host", "--port", "--threads", "--backend", "--accept", "--placement"}) {
    EXPECT_THAT(help.out(), HasSubstr(flag));
  }
  Process wrong({runfile("examples/kv_server/kv_server"), "--frobnicate"});
  EXPECT_EQ(wrong.wait(), 2);
  EXPECT_THAT(wrong.err(), ::testing::StartsWith("kv_server: "));
}

}  // namespace
}  // namespace gyre::testing
