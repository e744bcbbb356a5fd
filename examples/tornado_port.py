# The example of Tornado's IOLoop documentation, in its spirit: a socket of one's own, accepted from by
# a handler. tornado_port.cc is the same, function by function.

import functools
import socket
import sys

import tornado.ioloop


def handle_connection(connection, address):
    connection.setblocking(True)
    connection.sendall(b"hello from " + connection.getsockname()[0].encode() + b"\n")
    connection.close()


def connection_ready(sock, fd, events):
    while True:
        try:
            connection, address = sock.accept()
        except BlockingIOError:
            return
        handle_connection(connection, address)


if __name__ == "__main__":
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 0)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setblocking(False)
    sock.bind(("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 0))
    sock.listen(128)
    print("listening on 127.0.0.1:%d" % sock.getsockname()[1], flush=True)

    io_loop = tornado.ioloop.IOLoop.current()
    callback = functools.partial(connection_ready, sock)
    io_loop.add_handler(sock.fileno(), callback, io_loop.READ)
    io_loop.start()
