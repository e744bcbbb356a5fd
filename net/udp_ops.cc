#include "gyre/net/udp_ops.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "gyre/loop/errno_status.h"
#include "gyre/loop/log.h"

namespace gyre::internal {
namespace {

#if defined(__linux__)
// linux/udp.h, since 4.18 and 5.0; older headers do not have them.
constexpr int kUdpSegment = 103;
constexpr int kUdpGro = 104;
#else
// Without batches one message at a time has the look of one.
struct mmsghdr {
  msghdr msg_hdr;
  unsigned msg_len;
};
#endif

#if defined(MSG_NOSIGNAL)
constexpr int kFlags = MSG_DONTWAIT | MSG_NOSIGNAL;
#else
constexpr int kFlags = MSG_DONTWAIT;
#endif

// One call for each message: all that a kernel without batches can do. Stops at the first that
// fails; gives its error if it is the first of all.
template <class Call>
int one_by_one(std::span<mmsghdr> messages, Call&& call) {
  int done = 0;
  for (mmsghdr& message : messages) {
    const ssize_t bytes = call(&message.msg_hdr);
    if (bytes < 0) return done > 0 ? done : -1;
    message.msg_len = static_cast<unsigned>(bytes);
    ++done;
  }
  return done;
}

int receive(int fd, bool batches, std::span<mmsghdr> messages) {
#if defined(__linux__)
  if (batches) {
    return ::recvmmsg(fd, messages.data(), static_cast<unsigned>(messages.size()), kFlags, nullptr);
  }
#else
  static_cast<void>(batches);
#endif
  return one_by_one(messages, [fd](msghdr* message) { return ::recvmsg(fd, message, kFlags); });
}

int send(int fd, bool batches, std::span<mmsghdr> messages) {
#if defined(__linux__)
  if (batches) {
    return ::sendmmsg(fd, messages.data(), static_cast<unsigned>(messages.size()), kFlags);
  }
#else
  static_cast<void>(batches);
#endif
  return one_by_one(messages, [fd](msghdr* message) { return ::sendmsg(fd, message, kFlags); });
}

// Room for one control message with a number.
union ControlBuffer {
  cmsghdr align;
  char bytes[CMSG_SPACE(sizeof(int))];
};

// What UDP_GRO says: the size of the datagrams in the message; 0: it is one.
size_t segment_bytes_of(msghdr& message) {
#if defined(__linux__)
  for (cmsghdr* control = CMSG_FIRSTHDR(&message); control != nullptr;
       control = CMSG_NXTHDR(&message, control)) {
    if (control->cmsg_level != IPPROTO_UDP || control->cmsg_type != kUdpGro) continue;
    int bytes;
    std::memcpy(&bytes, CMSG_DATA(control), sizeof(bytes));
    return bytes > 0 ? static_cast<size_t>(bytes) : 0;
  }
#else
  static_cast<void>(message);
#endif
  return 0;
}

void set_segment_bytes(msghdr& message, ControlBuffer& buffer, size_t bytes) {
#if defined(__linux__)
  const auto segment = static_cast<uint16_t>(bytes);
  std::memset(&buffer, 0, sizeof(buffer));
  message.msg_control = &buffer;
  message.msg_controllen = CMSG_SPACE(sizeof(segment));
  cmsghdr* control = CMSG_FIRSTHDR(&message);
  control->cmsg_level = IPPROTO_UDP;
  control->cmsg_type = kUdpSegment;
  control->cmsg_len = CMSG_LEN(sizeof(segment));
  std::memcpy(CMSG_DATA(control), &segment, sizeof(segment));
#else
  static_cast<void>(message);
  static_cast<void>(buffer);
  static_cast<void>(bytes);
#endif
}

}  // namespace

absl::StatusOr<UniqueFd> new_datagram_socket(int family) {
#if defined(__linux__)
  UniqueFd fd(::socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd) return errno_status(errno, "socket");
#else
  UniqueFd fd(::socket(family, SOCK_DGRAM, 0));
  if (!fd || ::fcntl(fd.get(), F_SETFD, FD_CLOEXEC) != 0 ||
      ::fcntl(fd.get(), F_SETFL, O_NONBLOCK) != 0) {
    return errno_status(errno, "socket");
  }
#endif
  return fd;
}

UdpAbilities find_udp_abilities(int fd, const UdpAbilities& wanted) {
  UdpAbilities found = {.batches = false, .gso = false, .gro = false};
#if defined(__linux__)
  found.batches = wanted.batches;
  const int on = 1;
  int segment = 0;
  socklen_t size = sizeof(segment);
  found.gso = wanted.gso && ::getsockopt(fd, IPPROTO_UDP, kUdpSegment, &segment, &size) == 0;
  found.gro = wanted.gro && ::setsockopt(fd, IPPROTO_UDP, kUdpGro, &on, sizeof(on)) == 0;
#else
  static_cast<void>(fd);
  static_cast<void>(wanted);
#endif
  return found;
}

UdpReceiveBuffer::UdpReceiveBuffer()
    : bytes_(static_cast<char*>(std::malloc(kMessages * kMessageBytes))) {
  GYRE_CHECK(bytes_ != nullptr, "no memory for the receive buffer of UDP");
}
UdpReceiveBuffer::~UdpReceiveBuffer() { std::free(bytes_); }

UdpReceiveBuffer& UdpReceiveBuffer::of_this_thread() {
  static thread_local UdpReceiveBuffer buffer;
  return buffer;
}

IoResult receive_messages(int fd, const UdpAbilities& abilities, UdpReceiveBuffer& buffer,
                          std::span<ReceivedMessage> messages) {
  std::array<mmsghdr, UdpReceiveBuffer::kMessages> headers{};
  std::array<iovec, UdpReceiveBuffer::kMessages> data;
  std::array<sockaddr_in6, UdpReceiveBuffer::kMessages> names;
  std::array<ControlBuffer, UdpReceiveBuffer::kMessages> controls;
  const size_t room = std::min(messages.size(), headers.size());
  for (size_t i = 0; i < room; ++i) {
    msghdr& header = headers[i].msg_hdr;
    data[i] = {buffer.slot(i), UdpReceiveBuffer::kMessageBytes};
    header.msg_iov = &data[i];
    header.msg_iovlen = 1;
    header.msg_name = &names[i];
    header.msg_namelen = sizeof(names[i]);
    if (!abilities.gro) continue;
    header.msg_control = &controls[i];
    header.msg_controllen = sizeof(controls[i]);
  }
  int count;
  do {
    count = receive(fd, abilities.batches, std::span(headers).first(room));
  } while (count < 0 && errno == EINTR);
  if (count < 0) return {0, errno};
  for (int i = 0; i < count; ++i) {
    msghdr& header = headers[i].msg_hdr;
    messages[i].bytes = {buffer.slot(i), headers[i].msg_len};
    messages[i].segment_bytes = abilities.gro ? segment_bytes_of(header) : 0;
    messages[i].from =
        SocketAddress(reinterpret_cast<const sockaddr*>(&names[i]), header.msg_namelen);
  }
  return {count, 0};
}

IoResult send_messages(int fd, const UdpAbilities& abilities,
                       std::span<const OutgoingMessage> messages) {
  std::array<mmsghdr, kMaxSendBatch> headers{};
  std::array<iovec, kMaxSendBatch> data;
  std::array<ControlBuffer, kMaxSendBatch> controls;
  const size_t batch = std::min(messages.size(), headers.size());
  for (size_t i = 0; i < batch; ++i) {
    msghdr& header = headers[i].msg_hdr;
    data[i] = {const_cast<char*>(messages[i].bytes.data()), messages[i].bytes.size()};
    header.msg_iov = &data[i];
    header.msg_iovlen = 1;
    if (messages[i].to != nullptr) {
      header.msg_name = const_cast<sockaddr*>(messages[i].to->data());
      header.msg_namelen = messages[i].to->size();
    }
    if (messages[i].segment_bytes > 0) {
      set_segment_bytes(header, controls[i], messages[i].segment_bytes);
    }
  }
  int count;
  do {
    count = send(fd, abilities.batches, std::span(headers).first(batch));
  } while (count < 0 && errno == EINTR);
  if (count < 0) return {0, errno};
  return {count, 0};
}

}  // namespace gyre::internal
