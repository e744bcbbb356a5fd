// The server over real connections, with one shard and with several.

#include "gyre/examples/kv_server/kv_service.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "gyre/net/tcp_server.h"
#include "gyre/tests/net/tcp_client.h"
#include "gyre/tests/support/event.h"
#include "gyre/tests/support/log_capture.h"
#include "gyre/threading/loop_pool.h"

namespace gyre::kv {
namespace {

using gyre::testing::Patience;
using gyre::testing::TcpClient;

class KvServer {
 public:
  explicit KvServer(int threads) {
    LoopPoolOptions options;
    options.threads = threads;
    pool_ = *LoopPool::create(options);
    service_ = std::make_unique<KvService>(*pool_);
    server_ = std::make_unique<TCPServer>(
        *pool_,
        [this](std::shared_ptr<IOStream> connection) { service_->serve(std::move(connection)); },
        TCPServerOptions{.stream = KvService::stream_options()});
    const absl::Status status = server_->listen(0, "127.0.0.1");
    EXPECT_TRUE(status.ok()) << status;
  }
  ~KvServer() {
    server_.reset();
    pool_->stop();
    pool_->join();
    service_.reset();
  }

  TcpClient connect() { return TcpClient(server_->address()); }

 private:
  std::unique_ptr<LoopPool> pool_;
  std::unique_ptr<KvService> service_;
  std::unique_ptr<TCPServer> server_;
};

std::string bulk(std::string_view text) {
  return "$" + std::to_string(text.size()) + "\r\n" + std::string(text) + "\r\n";
}

std::string request(const std::vector<std::string>& arguments) {
  std::string bytes = "*" + std::to_string(arguments.size()) + "\r\n";
  for (const std::string& argument : arguments) bytes += bulk(argument);
  return bytes;
}

void expect_reply(TcpClient& client, std::string_view reply) {
  EXPECT_EQ(client.receive(reply.size()), reply);
}

void expect_answer(TcpClient& client, std::string_view request, std::string_view reply) {
  ASSERT_TRUE(client.send(request));
  expect_reply(client, reply);
}

// All that comes until the server ends.
std::string receive_all(TcpClient& client) { return client.receive(100 * 1000 * 1000); }

class KvServiceTest : public ::testing::TestWithParam<int> {
 protected:
  gyre::testing::LogCapture log_;
  KvServer server_{GetParam()};
  TcpClient client_ = server_.connect();
};

INSTANTIATE_TEST_SUITE_P(Shards, KvServiceTest, ::testing::Values(1, 2, 5));

TEST_P(KvServiceTest, RepliesComeInTheOrderOfTheRequests) {
  std::string requests, replies;
  for (int i = 0; i < 3000; ++i) {
    const std::string key = "key" + std::to_string(i), value = "value" + std::to_string(i);
    requests += request({"SET", key, value}) + request({"GET", key}) + "PING\r\n";
    replies += "+OK\r\n" + bulk(value) + "+PONG\r\n";
  }
  std::thread sender([&] { EXPECT_TRUE(client_.send(requests)); });
  expect_reply(client_, replies);
  sender.join();
}

TEST_P(KvServiceTest, ARequestMayComeByteByByte) {
  const std::string requests = request({"SET", "k", "v"}) + "get k\n" + request({"GET", "other"});
  for (const char byte : requests) ASSERT_TRUE(client_.send({&byte, 1}));
  expect_reply(client_, "+OK\r\n$1\r\nv\r\n$-1\r\n");
}

TEST_P(KvServiceTest, AValueMayBeLarge) {
  const std::string value(5 * 1000 * 1000, 'v');
  std::thread sender([&] {
    EXPECT_TRUE(client_.send(request({"SET", "k", value}) + request({"GET", "k"}) + "PING\r\n"));
  });
  expect_reply(client_, "+OK\r\n" + bulk(value) + "+PONG\r\n");
  sender.join();
}

TEST_P(KvServiceTest, RequestsForSeveralKeysConcernAllShards) {
  std::vector<std::string> set = {"MSET"}, get = {"MGET"}, del = {"DEL"}, exists = {"EXISTS"};
  std::string values;
  for (int i = 0; i < 100; ++i) {
    const std::string key = "key" + std::to_string(i);
    set.insert(set.end(), {key, std::to_string(i)});
    get.insert(get.end(), {key, "none" + key});
    exists.insert(exists.end(), {key, key, "none"});
    if (i < 70) del.push_back(key);
    values += bulk(std::to_string(i)) + "$-1\r\n";
  }
  expect_answer(client_,
                request(set) + request(get) + request(exists) + request({"DBSIZE"}) + request(del) +
                    request({"DBSIZE"}) + request({"FLUSHALL"}) + request({"DBSIZE"}) +
                    request({"MSET", "a"}) + request({"MSET", "a", "1", "b"}),
                "+OK\r\n*200\r\n" + values +
                    ":200\r\n:100\r\n:70\r\n:30\r\n+OK\r\n:0\r\n"
                    "-ERR wrong number of arguments for 'mset'\r\n"
                    "-ERR wrong number of arguments for 'mset'\r\n");
}

TEST_P(KvServiceTest, AClientThatHasEndedGetsItsReplies) {
  std::string requests, replies;
  for (int i = 0; i < 1000; ++i) {
    requests += request({"INCR", "key" + std::to_string(i)});
    replies += ":1\r\n";
  }
  ASSERT_TRUE(client_.send(requests + "*2\r\n$3\r\nGET\r\n"));  // the last is not whole
  client_.end();
  EXPECT_EQ(receive_all(client_), replies);
}

TEST_P(KvServiceTest, QuitAnswersWhatCameBeforeAndNothingAfter) {
  ASSERT_TRUE(client_.send("SET a 1\r\nSET b 2\r\nGET a\r\nQUIT\r\nSET a 3\r\n"));
  EXPECT_EQ(receive_all(client_), "+OK\r\n+OK\r\n$1\r\n1\r\n+OK\r\n");
  TcpClient other = server_.connect();
  expect_answer(other, "GET a\r\n", "$1\r\n1\r\n");
}

TEST_P(KvServiceTest, AProtocolErrorIsToldAndEndsTheConnection) {
  ASSERT_TRUE(client_.send("SET a 1\r\nGET a\r\n*1\r\n!4\r\nPING\r\nPING\r\n"));
  EXPECT_EQ(receive_all(client_),
            "+OK\r\n$1\r\n1\r\n-ERR Protocol error: expected '$' before an argument\r\n");
}

TEST_P(KvServiceTest, ErrorsDoNotEndTheConnection) {
  expect_answer(client_, "FROB\r\nGET\r\nRPUSH l x\r\nGET l\r\nPING\r\n",
                "-ERR unknown command 'FROB'\r\n-ERR wrong number of arguments for 'get'\r\n:1\r\n"
                "-WRONGTYPE the key holds a value of another kind\r\n+PONG\r\n");
}

TEST_P(KvServiceTest, ClientsOfDifferentLoopsCountOnTheSameKeys) {
  constexpr int kClients = 8, kRounds = 200, kKeys = 5;
  std::vector<std::thread> threads;
  for (int i = 0; i < kClients; ++i) {
    threads.emplace_back([this] {
      TcpClient client = server_.connect();
      for (int round = 0; round < kRounds; ++round) {
        std::string requests;
        for (int key = 0; key < kKeys; ++key) requests += "INCR n" + std::to_string(key) + "\r\n";
        ASSERT_TRUE(client.send(requests + "PING\r\n"));
        std::string replies;
        while (!replies.ends_with("+PONG\r\n") && !(replies += client.receive(1)).empty()) {
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (int key = 0; key < kKeys; ++key)
    expect_answer(client_, "GET n" + std::to_string(key) + "\r\n", "$4\r\n1600\r\n");
}

TEST_P(KvServiceTest, ClientsMayGoWhileTheirRequestsAreAway) {
  for (int i = 0; i < 200; ++i) {
    TcpClient client = server_.connect();
    std::string requests;
    for (int key = 0; key < 20; ++key) requests += "INCR key" + std::to_string(key) + "\r\n";
    ASSERT_TRUE(client.send(requests));
    const linger reset{.l_onoff = 1, .l_linger = i % 2};
    ::setsockopt(client.fileno(), SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
  }
  expect_answer(client_, "PING\r\n", "+PONG\r\n");
}

// In real time, which is that of the shards' loops: a millisecond, and a sweep.
TEST_P(KvServiceTest, WhatExpiresIsSweptThoughNobodyAsks) {
  std::string requests;
  for (int i = 0; i < 2000; ++i) requests += "SET key" + std::to_string(i) + " v PX 1\r\n";
  ASSERT_TRUE(client_.send(requests));
  client_.receive(2000 * 5);
  std::string size;
  for (Patience patience; size != ":0\r\n" && patience.left();) {
    ASSERT_TRUE(client_.send("DBSIZE\r\n"));
    size.clear();
    while (!size.ends_with("\r\n")) size += client_.receive(1);
  }
  EXPECT_EQ(size, ":0\r\n");
}

// Sends copies of `bytes` until the socket has taken nothing for a second; gives how many went.
int send_until_blocked(TcpClient& client, std::string_view bytes, int most) {
  for (int sent = 0; sent < most; ++sent) {
    for (std::string_view left = bytes; !left.empty();) {
      pollfd entry{client.fileno(), POLLOUT, 0};
      if (::poll(&entry, 1, 1000) == 0) return sent;
      const ssize_t n = ::send(client.fileno(), left.data(), left.size(), MSG_DONTWAIT);
      if (n > 0) left.remove_prefix(n);
    }
  }
  return most;
}

// Guards the memory of the server: the replies that wait for a client that does not read are
// bounded, because nothing more is read from it either.
TEST_P(KvServiceTest, AClientThatDoesNotReadIsNotReadFrom) {
  const std::string value(100 * 1000, 'v');
  expect_answer(client_, request({"SET", "big", value}), "+OK\r\n");
  // Each asks for as much again as the sockets' buffers hold, at most, of requests.
  const std::string get = request({"MGET", "big", std::string(60 * 1000, 'n')});
  constexpr int kMost = 5000;  // 300 MB of requests
  const int sent = send_until_blocked(client_, get, kMost);
  EXPECT_LT(sent, kMost);
  const std::string reply = "*2\r\n" + bulk(value) + "$-1\r\n";
  for (int i = 0; i < sent; ++i) ASSERT_EQ(client_.receive(reply.size()) == reply, true) << i;
}

TEST_P(KvServiceTest, EndsWithRequestsOnTheirWay) {
  std::vector<TcpClient> clients;
  for (int i = 0; i < 20; ++i) {
    clients.push_back(server_.connect());
    std::string requests;
    for (int key = 0; key < 500; ++key) requests += "INCR key" + std::to_string(key) + "\r\n";
    ASSERT_TRUE(clients.back().send(requests));
  }
  // The destructors follow.
}

// A request of any kind, on few keys, so that they meet; SPOP only where it has no choice.
std::string random_request(std::minstd_rand& random) {
  const auto key = [&] { return "k" + std::to_string(random() % 20); };
  const auto text = [&] {
    return std::string(random() % 20, static_cast<char>('a' + random() % 26));
  };
  switch (random() % 16) {
    case 0:
      return request({"SET", key(), text()});
    case 1:
      return request({"GET", key()});
    case 2:
      return request({"MSET", key(), text(), key(), text(), key(), text()});
    case 3:
      return request({"MGET", key(), key(), key(), key()});
    case 4:
      return request({"DEL", key(), key()});
    case 5:
      return request({"EXISTS", key(), key(), key()});
    case 6:
      return request({"INCRBY", key(), std::to_string(random() % 100)});
    case 7:
      return request({"APPEND", key(), text()});
    case 8:
      return request({"RPUSH", key(), text(), text()});
    case 9:
      return request({"LRANGE", key(), "0", "-1"});
    case 10:
      return request({"LPOP", key()});
    case 11:
      return request({"HSET", key(), "f", text()});
    case 12:
      return request({"ZADD", key(), std::to_string(random() % 9), text()});
    case 13:
      return request({"ZPOPMIN", key(), "2"});
    case 14:
      return random() % 30 == 0 ? request({"FLUSHALL"}) : request({"DBSIZE"});
    default:
      return random() % 2 == 0 ? "frob\r\n" : "ECHO " + key() + "\r\n";
  }
}

// The claim of sharding: but for the time it takes, nobody can tell.
TEST(KvSharding, SeveralShardsAnswerLikeOne) {
  KvServer one(1), several(3);
  TcpClient a = one.connect(), b = several.connect();
  std::minstd_rand random(1);
  for (int i = 0; i < 100; ++i) {
    std::string requests;
    for (int n = random() % 200; n >= 0; --n) requests += random_request(random);
    requests += "ECHO end" + std::to_string(i) + "\r\n";
    const std::string last = bulk("end" + std::to_string(i));
    ASSERT_TRUE(a.send(requests) && b.send(requests));
    std::string expected;
    while (!expected.ends_with(last)) {
      const std::string byte = a.receive(1);
      ASSERT_EQ(byte.size(), 1u);
      expected += byte;
    }
    ASSERT_EQ(b.receive(expected.size()), expected);
  }
}

}  // namespace
}  // namespace gyre::kv
