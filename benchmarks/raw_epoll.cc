// The baseline: a thread on epoll(7), one recv and one send for each readiness, nothing else. No
// line of gyre is in it, no connection can be slow, and no error is looked into: what a server that
// can be used costs more than this one is the price of its being usable.

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace {

constexpr size_t kReceiveBytes = 64 * 1024;
constexpr int kEvents = 512;

constexpr std::string_view kAnswer =
    "HTTP/1.1 200 OK\r\nServer: raw\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n\r\n"
    "Hello, World!";

[[noreturn]] void fail(const char* what) {
  std::fprintf(stderr, "raw_epoll: %s: %s\n", what, std::strerror(errno));
  std::exit(2);
}

// A listener, and its port.
std::pair<int, int> listen_on(int port) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  const int on = 1;
  ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  ::setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = ::htonl(INADDR_LOOPBACK);
  address.sin_port = ::htons(static_cast<uint16_t>(port));
  socklen_t length = sizeof(address);
  if (::bind(fd, reinterpret_cast<sockaddr*>(&address), length) != 0) fail("bind");
  if (::listen(fd, 4096) != 0) fail("listen");
  ::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length);
  return {fd, ::ntohs(address.sin_port)};
}

void accept_all(int epoll, int listener, uint32_t interest) {
  const int on = 1;
  for (int fd; (fd = ::accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0;) {
    ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    epoll_event event{};
    event.events = interest;
    event.data.fd = fd;
    if (::epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0) fail("epoll_ctl");
  }
}

// A request is what ends with an empty line; a request in two pieces does not occur here.
size_t count_requests(std::string_view bytes) {
  constexpr std::string_view kEnd = "\r\n\r\n";
  size_t count = 0;
  for (size_t at = 0; (at = bytes.find(kEnd, at)) != std::string_view::npos; at += kEnd.size())
    ++count;
  return count;
}

// A readiness of a connection. `answers` holds as many as a receive buffer can ask for; empty: the
// bytes go back.
void serve(int fd, char* buffer, std::string_view answers) {
  const ssize_t n = ::recv(fd, buffer, kReceiveBytes, 0);
  if (n <= 0) {
    if (n == 0 || errno != EAGAIN) ::close(fd);
    return;
  }
  const std::string_view received(buffer, n);
  const std::string_view answer =
      answers.empty() ? received : answers.substr(0, count_requests(received) * kAnswer.size());
  if (answer.empty()) return;
  if (::send(fd, answer.data(), answer.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(answer.size()))
    ::close(fd);
}

// A thread's work, without an end.
void run(int listener, uint32_t interest, std::string_view answers) {
  const int epoll = ::epoll_create1(EPOLL_CLOEXEC);
  epoll_event listening{};
  listening.events = EPOLLIN;
  listening.data.fd = listener;
  if (::epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &listening) != 0) fail("epoll_ctl");
  const auto buffer = std::make_unique<char[]>(kReceiveBytes);
  std::vector<epoll_event> events(kEvents);
  for (;;) {
    const int n = ::epoll_wait(epoll, events.data(), kEvents, -1);
    if (n < 0 && errno != EINTR) fail("epoll_wait");
    for (int i = 0; i < n; ++i) {
      if (events[i].data.fd == listener) {
        accept_all(epoll, listener, interest);
      } else {
        serve(events[i].data.fd, buffer.get(), answers);
      }
    }
  }
}

int help() {
  std::printf(
      "Threads on epoll(7), and no line of gyre: the baseline.\n\n"
      "usage: raw_epoll [flags], by default:\n"
      "  --port=0      0: the kernel picks one\n"
      "  --threads=1   each with a listener of its own (SO_REUSEPORT)\n"
      "  --mode=echo   echo or http\n"
      "  --edge        edge-triggered\n\n"
      "example: raw_epoll --port=8888 --mode=http\n");
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  int port = 0;
  int threads = 1;
  bool http = false;
  uint32_t interest = EPOLLIN;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument(argv[i]);
    if (argument.starts_with("--port=")) {
      port = std::atoi(argv[i] + 7);
    } else if (argument.starts_with("--threads=")) {
      threads = std::atoi(argv[i] + 10);
    } else if (argument == "--mode=http" || argument == "--mode=echo") {
      http = argument == "--mode=http";
    } else if (argument == "--edge") {
      interest = EPOLLIN | EPOLLET;  // what is longer than the buffer does not occur here either
    } else if (argument == "--help") {
      return help();
    } else {
      std::fprintf(stderr, "raw_epoll: unknown flag %s; --help lists them\n", argv[i]);
      return 2;
    }
  }
  std::string answers;
  if (http) {
    constexpr size_t kShortestRequest = 18;  // "GET / HTTP/1.1\r\n\r\n"
    for (size_t i = 0; i < kReceiveBytes / kShortestRequest; ++i) answers += kAnswer;
  }
  const auto [first, bound_port] = listen_on(port);
  std::vector<int> listeners{first};
  while (std::ssize(listeners) < threads) listeners.push_back(listen_on(bound_port).first);
  for (size_t i = 1; i < listeners.size(); ++i) {
    std::thread(run, listeners[i], interest, std::string_view(answers)).detach();
  }
  std::printf("listening on 127.0.0.1:%d\n", bound_port);
  std::fflush(stdout);
  run(first, interest, answers);
}
