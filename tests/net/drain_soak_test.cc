// Ten thousand drains, each at another moment of its clients' requests.
//
// A response has begun when the server's handler was given its whole request: from then on it has
// to reach the client whole. The handler counts these, the client counts the answers that it got,
// and after each drain the two have to be the same. A request that was not given to the handler may
// be refused: then the client sees the end, and not one byte of an answer.

#include <netinet/tcp.h>
#include <sys/socket.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "gyre/loop/task.h"
#include "gyre/net/tcp_server.h"
#include "gyre/tests/net/tcp_client.h"
#include "gyre/tests/net/tcp_server_fixture.h"

namespace gyre::testing {
namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr int kDrains = 50;
#else
constexpr int kDrains = 1120;  // on each of three backends, with each of three ways to accept
#endif
constexpr int kClients = 3;

// A request names its client, the size of the answer and how it is to be made.
struct Request {
  int client;
  int answer_bytes;
  int manner;  // 0: at once, 1: in two parts, 2: after a while
};

std::string to_line(const Request& request) {
  return std::to_string(request.client) + " " + std::to_string(request.answer_bytes) + " " +
         std::to_string(request.manner) + "\n";
}
Request from_line(const std::string& line) {
  Request request{};
  EXPECT_EQ(std::sscanf(line.c_str(), "%d %d %d", &request.client, &request.answer_bytes,
                        &request.manner),
            3)
      << line;
  return request;
}

class DrainSoak : public TcpServerTest {
 protected:
  void serve_requests() {
    serve([this](std::shared_ptr<IOStream> stream) -> Task<void> {
      for (;;) {
        const absl::StatusOr<std::string> line = co_await stream->read_until("\n");
        if (!line.ok()) co_return;
        const Request request = from_line(*line);
        begun_[request.client].fetch_add(1);
        const std::string answer(request.answer_bytes, 'a');
        if (request.manner == 2) co_await sleep_for(std::chrono::microseconds(100));
        if (request.manner == 1) {
          static_cast<void>(co_await stream->write(answer.substr(0, answer.size() / 2)));
          stream->write(answer.substr(answer.size() / 2));
        } else {
          stream->write(answer);
        }
      }
    });
  }

  // Asks until the server ends; gives how many whole answers came.
  static int ask(TcpClient client, int number, uint32_t seed) {
    std::mt19937 random(seed);
    // A line comes in two parts, the second of which would wait for the first one's receipt.
    const int on = 1;
    ::setsockopt(client.fileno(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    const int depth = 1 + random() % 2;  // requests under way
    std::vector<Request> under_way;
    for (int answered = 0;; ++answered) {
      while (static_cast<int>(under_way.size()) < depth) {
        const uint32_t draw = random();
        const int bytes = draw % 16 == 0 ? 200'000 : 1 + static_cast<int>(draw % 3000);
        under_way.push_back({number, bytes, static_cast<int>(random() % 3)});
        // Who was refused may not be able to send any more, but what was answered before is there.
        const std::string line = to_line(under_way.back());
        const size_t cut = random() % line.size();
        if (cut > 0) client.send(line.substr(0, cut));
        client.send(line.substr(cut));
      }
      const size_t expected = under_way.front().answer_bytes;
      under_way.erase(under_way.begin());
      const size_t received = client.receive(expected).size();
      if (received == expected) continue;
      EXPECT_EQ(received, 0u) << "of " << expected << ": a part of an answer";
      return answered;
    }
  }

  std::atomic<int> begun_[kClients] = {};
};
GYRE_FOR_EACH_SERVER(DrainSoak);

TEST_P(DrainSoak, NoAnswerThatHadBegunIsLost) {
  std::mt19937 random(20261126);
  uint64_t answers = 0, drained_amid = 0;
  for (int round = 0; round < kDrains && !HasFailure(); ++round) {
    serve_requests();
    for (std::atomic<int>& begun : begun_) begun.store(0);
    int answered[kClients] = {};
    std::vector<std::thread> clients;
    for (int i = 0; i < kClients; ++i) {
      clients.emplace_back([i, seed = random(), &answered, client = connect()]() mutable {
        answered[i] = ask(std::move(client), i, seed);
      });
    }
    // Any moment, in the real time of the pool: before they are accepted, and amid the answers.
    std::this_thread::sleep_for(std::chrono::microseconds(random() % 800));
    const DrainReport report = server_->drain(std::chrono::seconds(30));
    EXPECT_EQ(report.cut_off, 0u) << report.to_string();
    for (std::thread& client : clients) client.join();
    for (int i = 0; i < kClients; ++i) {
      EXPECT_EQ(answered[i], begun_[i].load()) << "client " << i << ", drain " << round;
      answers += answered[i];
      drained_amid += answered[i] > 0;
    }
  }
  RecordProperty("answers", std::to_string(answers));
  RecordProperty("connections_drained_amid_requests", std::to_string(drained_amid));
  EXPECT_GT(drained_amid, static_cast<uint64_t>(kDrains) / 4) << "the moments are badly chosen";
}

}  // namespace
}  // namespace gyre::testing
