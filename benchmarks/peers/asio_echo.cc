// An echo server on Boost.Asio: a session that owns itself, with a buffer of its own, as Asio's
// examples have it.

#include <array>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/write.hpp>
#include <memory>
#include <utility>

#include "gyre/benchmarks/peers/echo_program.h"

namespace {

using boost::asio::ip::tcp;

class Session : public std::enable_shared_from_this<Session> {
 public:
  explicit Session(tcp::socket socket) : socket_(std::move(socket)) {}

  void read() {
    socket_.async_read_some(
        boost::asio::buffer(buffer_),
        [self = shared_from_this()](boost::system::error_code error, size_t size) {
          if (!error) self->write(size);
        });
  }

 private:
  void write(size_t size) {
    boost::asio::async_write(socket_, boost::asio::buffer(buffer_.data(), size),
                             [self = shared_from_this()](boost::system::error_code error, size_t) {
                               if (!error) self->read();
                             });
  }

  tcp::socket socket_;
  std::array<char, 16 * 1024> buffer_;
};

void accept(tcp::acceptor& acceptor) {
  acceptor.async_accept([&acceptor](boost::system::error_code error, tcp::socket socket) {
    if (!error) {
      socket.set_option(tcp::no_delay(true), error);
      std::make_shared<Session>(std::move(socket))->read();
    }
    accept(acceptor);
  });
}

void serve(int listen_fd) {
  boost::asio::io_context context{1};
  tcp::acceptor acceptor(context, tcp::v4(), listen_fd);
  accept(acceptor);
  context.run();
}

}  // namespace

int main(int argc, char** argv) { return gyre::bench::run_echo_program(argc, argv, serve); }
