// An echo server on libevent's events, and the socket calls by hand: its bufferevents make two to
// three times as many.

#include <event2/event.h>
#include <event2/listener.h>
#include <unistd.h>

#include "gyre/benchmarks/peers/echo_connection.h"
#include "gyre/benchmarks/peers/echo_program.h"

namespace {

using gyre::bench::EchoConnection;

struct Connection {
  event* readable;
  event* writable;
  EchoConnection echo;
};

void close_connection(Connection* connection, evutil_socket_t fd) {
  event_free(connection->readable);
  event_free(connection->writable);
  ::close(fd);
  delete connection;
}

void on_readable(evutil_socket_t fd, short, void* argument) {
  auto* connection = static_cast<Connection*>(argument);
  const auto wants = connection->echo.read(fd);
  if (wants == EchoConnection::Wants::kClose) return close_connection(connection, fd);
  if (wants == EchoConnection::Wants::kRead) return;
  event_del(connection->readable);
  event_add(connection->writable, nullptr);
}

void on_writable(evutil_socket_t fd, short, void* argument) {
  auto* connection = static_cast<Connection*>(argument);
  const auto wants = connection->echo.write(fd);
  if (wants == EchoConnection::Wants::kClose) return close_connection(connection, fd);
  if (wants == EchoConnection::Wants::kWrite) return;
  event_del(connection->writable);
  event_add(connection->readable, nullptr);
}

void on_connection(evconnlistener* listener, evutil_socket_t fd, sockaddr*, int, void*) {
  gyre::bench::set_nodelay(fd);
  event_base* base = evconnlistener_get_base(listener);
  auto* connection = new Connection{};
  connection->readable = event_new(base, fd, EV_READ | EV_PERSIST, on_readable, connection);
  connection->writable = event_new(base, fd, EV_WRITE | EV_PERSIST, on_writable, connection);
  event_add(connection->readable, nullptr);
}

void serve(int listen_fd) {
  event_config* config = event_config_new();
  event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
  event_base* base = event_base_new_with_config(config);
  event_config_free(config);
  // The socket listens already: backlog 0.
  evconnlistener_new(base, on_connection, nullptr, LEV_OPT_CLOSE_ON_FREE, 0, listen_fd);
  event_base_dispatch(base);
}

}  // namespace

int main(int argc, char** argv) { return gyre::bench::run_echo_program(argc, argv, serve); }
