// A real HAProxy in front of two servers, which are restarted one after the other: what an operator
// does, and no client may notice. Needs Debian's haproxy, which tools/setup installs.

#include <signal.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "gyre/net/listen_socket.h"
#include "gyre/net/socket_address.h"
#include "gyre/tests/integration/process.h"

namespace gyre::testing {
namespace {

constexpr char kHAProxy[] = "/usr/sbin/haproxy";
constexpr std::chrono::seconds kPatience(20);

// Below the ports that the kernel gives to clients: a server finds its own again after a restart.
class Ports {
 public:
  uint16_t take() {
    for (;;) {
      const auto port = static_cast<uint16_t>(20000 + next_++ % 12000);
      if (ListenSocket::bind(*SocketAddress::parse("127.0.0.1", port)).ok()) return port;
    }
  }

 private:
  unsigned next_ = static_cast<unsigned>(::getpid()) * 97;
};

// A blocking connection to the loopback, from `source`.
UniqueFd connect_to(uint16_t port, const char* source) {
  UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const timeval patience{.tv_sec = kPatience.count(), .tv_usec = 0};
  ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
  const SocketAddress from = SocketAddress::parse(source, 0).value();
  const SocketAddress to = SocketAddress::parse("127.0.0.1", port).value();
  if (::bind(fd.get(), from.data(), from.size()) != 0 ||
      ::connect(fd.get(), to.data(), to.size()) != 0) {
    fd.reset();
  }
  return fd;
}

bool send_all(const UniqueFd& fd, const std::string& bytes) {
  return ::send(fd.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL) ==
         static_cast<ssize_t>(bytes.size());
}

std::string receive(const UniqueFd& fd, size_t bytes) {
  std::string received(bytes, '\0');
  size_t count = 0;
  for (ssize_t n; count < bytes; count += n) {
    n = ::recv(fd.get(), received.data() + count, bytes - count, 0);
    if (n <= 0) break;
  }
  received.resize(count);
  return received;
}

std::string receive_all(const UniqueFd& fd) {
  std::string received;
  char buffer[4096];
  for (ssize_t n; (n = ::recv(fd.get(), buffer, sizeof(buffer), 0)) > 0;)
    received.append(buffer, n);
  return received;
}

template <class F>
[[nodiscard]] bool comes_true(F claim) {
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  while (!claim()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return true;
}

// HAProxy as a TCP proxy with health checks, in front of servers `a` (header of version 2) and `b`
// (version 1).
class HAProxy {
 public:
  HAProxy(Ports& ports, uint16_t a, uint16_t b)
      : front_(ports.take()), admin_(ports.take()), file_(write_configuration(a, b)) {
    process_ = std::make_unique<Process>(std::vector<std::string>{kHAProxy, "-db", "-f", file_});
  }
  ~HAProxy() { ::unlink(file_.c_str()); }

  uint16_t port() const { return front_; }

  std::string command(const std::string& line) const {
    const UniqueFd fd = connect_to(admin_, "127.0.0.1");
    return fd && send_all(fd, line + "\n") ? receive_all(fd) : "";
  }
  // A column of a server's row in the statistics.
  std::string statistic(const std::string& server, const std::string& column) const {
    std::istringstream table(command("show stat"));
    std::string line;
    std::vector<std::string> names;
    while (std::getline(table, line)) {
      const std::vector<std::string> cells = split(line);
      if (names.empty()) names = cells;
      if (cells.size() < 2 || cells[0] != "servers" || cells[1] != server) continue;
      for (size_t i = 0; i < cells.size(); ++i) {
        if (names[i] == column) return cells[i];
      }
    }
    return "";
  }
  bool is_up(const std::string& server) const { return statistic(server, "status") == "UP"; }

 private:
  static std::vector<std::string> split(const std::string& line) {
    std::vector<std::string> cells;
    std::istringstream stream(line);
    for (std::string cell; std::getline(stream, cell, ',');) cells.push_back(cell);
    return cells;
  }

  // The check is a request like any other: it goes through the header and the handler.
  std::string write_configuration(uint16_t a, uint16_t b) const {
    const char* directory = std::getenv("TEST_TMPDIR");
    const std::string path = std::string(directory != nullptr ? directory : "/tmp") + "/haproxy-" +
                             std::to_string(::getpid()) + ".cfg";
    std::ofstream(path) << "global\n"
                        << "  stats socket ipv4@127.0.0.1:" << admin_ << " level admin\n"
                        << "  maxconn 200\n"
                        << "defaults\n"
                        << "  mode tcp\n"
                        << "  timeout connect 10s\n  timeout check 10s\n  timeout client 20s\n  "
                           "timeout server 20s\n"
                        << "  retries 3\n  option redispatch\n"
                        << "frontend clients\n"
                        << "  bind 127.0.0.1:" << front_ << "\n"
                        << "  default_backend servers\n"
                        << "backend servers\n"
                        << "  balance roundrobin\n"
                        << "  option tcp-check\n"
                        << "  tcp-check send \"health\\n\"\n"
                        << "  tcp-check expect string \"127.0.0.1 health\"\n"
                        << "  default-server check inter 100ms fall 5 rise 2\n"
                        << "  server a 127.0.0.1:" << a << " send-proxy-v2\n"
                        << "  server b 127.0.0.1:" << b << " send-proxy\n";
    return path;
  }

  const uint16_t front_;
  const uint16_t admin_;
  const std::string file_;
  std::unique_ptr<Process> process_;
};

std::unique_ptr<Process> start_server(uint16_t port) {
  auto server = std::make_unique<Process>(std::vector<std::string>{
      runfile("tests/integration/proxied_server"), "--port=" + std::to_string(port), "--threads=2",
      "--proxy_protocol=127.0.0.1"});
  EXPECT_TRUE(server->wait_for_output("listening on")) << server->err();
  return server;
}

// Clients that make connections of a few requests each, one after the other, and look at every byte
// of the answers.
class Clients {
 public:
  explicit Clients(uint16_t port) {
    for (int i = 0; i < 3; ++i) threads_.emplace_back([this, port, i] { run(port, i); });
  }
  ~Clients() { stop(); }
  void stop() {
    stopping_ = true;
    for (std::thread& thread : threads_) {
      if (thread.joinable()) thread.join();
    }
  }

  int requests() const { return requests_; }
  int failures() const { return failures_; }

 private:
  void run(uint16_t port, int client) {
    const std::string source = "127.0.0." + std::to_string(10 + client);
    for (int number = 0; !stopping_; ++number) {
      const UniqueFd fd = connect_to(port, source.c_str());
      for (int i = 0; i < 4; ++i) request(fd, source, std::to_string(number * 4 + i));
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
  }
  void request(const UniqueFd& fd, const std::string& source, const std::string& number) {
    const std::string line = number + std::string(200, '.') + "\n";
    const std::string expected = source + " " + line;
    ++requests_;
    if (!fd || !send_all(fd, line) || receive(fd, expected.size()) != expected) ++failures_;
  }

  std::atomic<bool> stopping_ = false;
  std::atomic<int> requests_ = 0;
  std::atomic<int> failures_ = 0;
  std::vector<std::thread> threads_;
};

class BehindHAProxy : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_EQ(::access(kHAProxy, X_OK), 0) << "haproxy is missing: run tools/setup test";
    for (const char* name : {"a", "b"}) {
      ports_[name] = free_ports_.take();
      servers_[name] = start_server(ports_[name]);
    }
    proxy_ = std::make_unique<HAProxy>(free_ports_, ports_["a"], ports_["b"]);
    for (const char* name : {"a", "b"}) ASSERT_TRUE(becomes_up(name));
  }

  bool becomes_up(const std::string& name) {
    return comes_true([&] { return proxy_->is_up(name); });
  }
  // Ends it as an operator does, and gives what it said.
  void stop_server(const std::string& name) {
    Process& server = *servers_[name];
    server.signal(SIGTERM);
    EXPECT_EQ(server.wait(), 0) << server.err();
    // Health checks are no news.
    EXPECT_THAT(server.err(),
                ::testing::MatchesRegex("[0-9]+ connections served, 0 cut off[^\n]*\n"));
  }
  void restart(const std::string& name) {
    proxy_->command("set server servers/" + name + " state drain");
    ASSERT_TRUE(comes_true([&] { return proxy_->statistic(name, "scur") == "0"; }));
    stop_server(name);
    servers_[name] = start_server(ports_[name]);
    proxy_->command("set server servers/" + name + " state ready");
    ASSERT_TRUE(becomes_up(name));
  }

  Ports free_ports_;
  std::map<std::string, uint16_t> ports_;
  std::map<std::string, std::unique_ptr<Process>> servers_;
  std::unique_ptr<HAProxy> proxy_;
};

TEST_F(BehindHAProxy, HealthChecksPassAndTheServersSeeTheClients) {
  for (int i = 0; i < 4; ++i) {  // both of them, and both versions of the header
    const UniqueFd fd = connect_to(proxy_->port(), "127.0.0.7");
    ASSERT_TRUE(fd);
    ASSERT_TRUE(send_all(fd, "who?\n"));
    EXPECT_EQ(receive(fd, 15), "127.0.0.7 who?\n");
  }
  for (const char* name : {"a", "b"}) {
    EXPECT_TRUE(proxy_->is_up(name));
    EXPECT_NE(proxy_->statistic(name, "stot"), "0") << name;
    EXPECT_EQ(proxy_->statistic(name, "chkfail"), "0") << name;
    stop_server(name);
  }
}

TEST_F(BehindHAProxy, ARollingRestartFailsNoRequest) {
  Clients clients(proxy_->port());
  for (int round = 0; round < 4; ++round) {
    for (const char* name : {"a", "b"}) {
      const int before = clients.requests();
      restart(name);
      ASSERT_TRUE(comes_true([&] { return clients.requests() > before + 50; }));
    }
  }
  // Both carry load again.
  for (const char* name : {"a", "b"}) {
    const std::string before = proxy_->statistic(name, "stot");
    EXPECT_TRUE(comes_true([&] { return proxy_->statistic(name, "stot") != before; })) << name;
  }
  clients.stop();
  EXPECT_EQ(clients.failures(), 0) << "of " << clients.requests();
  for (const char* name : {"a", "b"}) stop_server(name);
  RecordProperty("requests", clients.requests());
}

}  // namespace
}  // namespace gyre::testing
