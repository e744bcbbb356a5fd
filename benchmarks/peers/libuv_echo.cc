// An echo server on libuv as a careful user writes it: the answer is tried at once, and only what
// the kernel does not take is queued.

#include <uv.h>

#include <cstring>
#include <memory>
#include <utility>

#include "gyre/benchmarks/peers/echo_program.h"

namespace {

using gyre::bench::kReceiveBytes;

thread_local char receive_buffer[kReceiveBytes];

struct Rest {
  uv_write_t request;
  std::unique_ptr<char[]> bytes;
};

void close_stream(uv_stream_t* stream) {
  uv_close(reinterpret_cast<uv_handle_t*>(stream),
           [](uv_handle_t* handle) { delete reinterpret_cast<uv_tcp_t*>(handle); });
}

void write_rest(uv_stream_t* stream, const char* bytes, size_t size) {
  auto* rest = new Rest{{}, std::make_unique<char[]>(size)};
  std::memcpy(rest->bytes.get(), bytes, size);
  uv_buf_t buffer = uv_buf_init(rest->bytes.get(), static_cast<unsigned>(size));
  rest->request.data = rest;
  const int error = uv_write(&rest->request, stream, &buffer, 1, [](uv_write_t* request, int) {
    delete static_cast<Rest*>(request->data);
  });
  if (error != 0) delete rest;
}

void on_read(uv_stream_t* stream, ssize_t size, const uv_buf_t* received) {
  if (size < 0) return close_stream(stream);
  if (size == 0) return;
  uv_buf_t buffer = uv_buf_init(received->base, static_cast<unsigned>(size));
  int written = uv_try_write(stream, &buffer, 1);
  if (written == UV_EAGAIN) written = 0;
  if (written < 0) return close_stream(stream);
  if (written < size)
    write_rest(stream, received->base + written, static_cast<size_t>(size - written));
}

void on_connection(uv_stream_t* listener, int status) {
  if (status < 0) return;
  auto* connection = new uv_tcp_t;
  uv_tcp_init(listener->loop, connection);
  auto* stream = reinterpret_cast<uv_stream_t*>(connection);
  if (uv_accept(listener, stream) != 0) return close_stream(stream);
  uv_tcp_nodelay(connection, 1);
  uv_read_start(
      stream,
      [](uv_handle_t*, size_t, uv_buf_t* buffer) {
        *buffer = uv_buf_init(receive_buffer, kReceiveBytes);
      },
      on_read);
}

void serve(int listen_fd) {
  uv_loop_t loop;
  uv_tcp_t listener;
  uv_loop_init(&loop);
  uv_tcp_init(&loop, &listener);
  uv_tcp_open(&listener, listen_fd);
  uv_listen(reinterpret_cast<uv_stream_t*>(&listener), 4096, on_connection);
  uv_run(&loop, UV_RUN_DEFAULT);
}

}  // namespace

int main(int argc, char** argv) { return gyre::bench::run_echo_program(argc, argv, serve); }
