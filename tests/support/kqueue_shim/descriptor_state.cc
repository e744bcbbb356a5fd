#include "gyre/tests/support/kqueue_shim/descriptor_state.h"

#include <fcntl.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <limits>

namespace gyre::testing {
namespace {

// The kernel's numbers (include/net/tcp_states.h). <netinet/tcp.h> names them, but has an older
// tcp_info.
enum TcpState { kFinWait1 = 4, kFinWait2 = 5, kTimeWait = 6, kLastAck = 9, kClosing = 11 };

short poll_now(int fd) {
  pollfd query{fd, POLLIN | POLLOUT | POLLRDHUP, 0};
  return ::poll(&query, 1, 0) > 0 ? query.revents : 0;
}

int bytes(int fd, unsigned long request) {
  int count = 0;
  return ::ioctl(fd, request, &count) == 0 ? count : 0;
}

int socket_option(int fd, int name) {
  int value = 0;
  socklen_t size = sizeof(value);
  return ::getsockopt(fd, SOL_SOCKET, name, &value, &size) == 0 ? value : 0;
}

bool get_tcp_info(int fd, tcp_info& info) {
  socklen_t size = sizeof(info);
  return socket_option(fd, SO_PROTOCOL) == IPPROTO_TCP &&
         ::getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) == 0;
}

// SO_ERROR would take the error away from the program that is tested.
unsigned int guess_error(int fd) {
  tcp_info info{};
  // Whoever was connected once has had a segment delivered: its SYN.
  return get_tcp_info(fd, info) && info.tcpi_delivered == 0 ? ECONNREFUSED : ECONNRESET;
}

// After a shutdown(SHUT_WR) of its own, which poll(2) does not show.
bool sends_no_more(int fd) {
  tcp_info info{};
  if (get_tcp_info(fd, info)) {
    const int state = info.tcpi_state;
    return state == kFinWait1 || state == kFinWait2 || state == kTimeWait || state == kLastAck ||
           state == kClosing;
  }
  if (socket_option(fd, SO_DOMAIN) != AF_UNIX || socket_option(fd, SO_TYPE) != SOCK_STREAM) {
    return false;
  }
  // Past the C library, where a test may have its hands.
  return ::syscall(SYS_sendto, fd, "", 0, MSG_DONTWAIT | MSG_NOSIGNAL, nullptr, 0) < 0 &&
         errno == EPIPE;
}

// A stream that was not connected yet: POLLHUP, but not the end of what comes in (tcp_poll,
// unix_poll).
bool never_connected(short events) { return (events & POLLHUP) && !(events & POLLRDHUP); }

bool opened_for(int fd, int access) {
  const int mode = ::fcntl(fd, F_GETFL) & O_ACCMODE;
  return mode == access || mode == O_RDWR;
}

FilterState socket_read_state(int fd) {
  const short events = poll_now(fd);
  if (never_connected(events)) return {};
  FilterState state;
  state.ended = events & POLLRDHUP;
  state.ready = events & (POLLIN | POLLRDHUP | POLLERR);
  if (state.ended && events & POLLERR) state.error = guess_error(fd);
  state.data = bytes(fd, FIONREAD);
  return state;
}

FilterState socket_write_state(int fd) {
  const short events = poll_now(fd);
  if (never_connected(events)) return {};
  FilterState state;
  state.ended = events & POLLHUP || (!(events & POLLERR) && sends_no_more(fd));
  state.ready = state.ended || events & (POLLOUT | POLLERR);
  if (state.ended && events & POLLERR) state.error = guess_error(fd);
  state.data = socket_option(fd, SO_SNDBUF) - bytes(fd, SIOCOUTQ);
  return state;
}

}  // namespace

DescriptorKind kind_of(int fd) {
  struct stat file {};
  ::fstat(fd, &file);
  if (S_ISFIFO(file.st_mode)) return DescriptorKind::kPipe;
  if (!S_ISSOCK(file.st_mode)) return DescriptorKind::kOther;
  return socket_option(fd, SO_ACCEPTCONN) ? DescriptorKind::kListener : DescriptorKind::kSocket;
}

FilterState read_filter_state(int fd, DescriptorKind kind) {
  if (kind == DescriptorKind::kSocket) return socket_read_state(fd);
  // "If a filter is requested that is not supported by this file descriptor, don't return an error,
  // but also don't ever generate an event" (pipe_kqfilter in sys/kern/sys_pipe.c of FreeBSD).
  if (kind == DescriptorKind::kPipe && !opened_for(fd, O_RDONLY)) return {};
  const short events = poll_now(fd);
  FilterState state;
  state.ended = events & POLLHUP;
  state.ready = events & (POLLIN | POLLHUP);
  state.data = bytes(fd, FIONREAD);
  if (kind == DescriptorKind::kListener) {
    tcp_info info{};
    state.data = get_tcp_info(fd, info) ? info.tcpi_unacked : state.ready;
  }
  return state;
}

FilterState write_filter_state(int fd, DescriptorKind kind) {
  if (kind == DescriptorKind::kSocket) return socket_write_state(fd);
  if (kind == DescriptorKind::kListener) return {};
  if (kind == DescriptorKind::kPipe && !opened_for(fd, O_WRONLY)) return {};
  const short events = poll_now(fd);
  FilterState state;
  state.ended = events & (POLLERR | POLLHUP);
  state.ready = state.ended || events & POLLOUT;
  state.data = kind == DescriptorKind::kPipe ? ::fcntl(fd, F_GETPIPE_SZ) - bytes(fd, FIONREAD)
                                             : std::numeric_limits<int64_t>::max();
  return state;
}

}  // namespace gyre::testing
