// An echo server on libev: a watcher a connection, and the socket calls by hand.

#include <ev.h>
#include <unistd.h>

#include "gyre/benchmarks/peers/echo_connection.h"
#include "gyre/benchmarks/peers/echo_program.h"

namespace {

using gyre::bench::EchoConnection;

struct Connection {
  ev_io watcher;
  EchoConnection echo;
};

void on_ready(struct ev_loop* loop, ev_io* watcher, int events) {
  auto* connection = static_cast<Connection*>(watcher->data);
  const int fd = watcher->fd;
  const auto wants = events & EV_WRITE ? connection->echo.write(fd) : connection->echo.read(fd);
  if (wants == EchoConnection::Wants::kClose) {
    ev_io_stop(loop, watcher);
    ::close(fd);
    delete connection;
    return;
  }
  const int wanted = wants == EchoConnection::Wants::kWrite ? EV_WRITE : EV_READ;
  if (watcher->events & wanted) return;
  ev_io_stop(loop, watcher);
  ev_io_set(watcher, fd, wanted);
  ev_io_start(loop, watcher);
}

void on_connection(struct ev_loop* loop, ev_io* listener, int) {
  const int fd = ::accept4(listener->fd, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (fd < 0) return;
  gyre::bench::set_nodelay(fd);
  auto* connection = new Connection;
  connection->watcher.data = connection;
  ev_io_init(&connection->watcher, on_ready, fd, EV_READ);
  ev_io_start(loop, &connection->watcher);
}

void serve(int listen_fd) {
  struct ev_loop* loop = ev_loop_new(EVFLAG_AUTO);
  ev_io listener;
  ev_io_init(&listener, on_connection, listen_fd, EV_READ);
  ev_io_start(loop, &listener);
  ev_run(loop, 0);
}

}  // namespace

int main(int argc, char** argv) { return gyre::bench::run_echo_program(argc, argv, serve); }
