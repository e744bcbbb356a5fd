#include "gyre/net/handshakes.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <iterator>

#include "gyre/loop/unique_fd.h"

#if defined(__linux__)
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#endif

namespace gyre::internal {

#if defined(__linux__)

std::vector<Handshakes::Key> Handshakes::list(const SocketAddress& local) {
  std::vector<Key> keys;
  if (local.is_unix()) return keys;
  const UniqueFd fd(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG));
  if (!fd) return keys;
  struct {
    nlmsghdr header;
    inet_diag_req_v2 body;
  } request{};
  request.header.nlmsg_len = sizeof(request);
  request.header.nlmsg_type = SOCK_DIAG_BY_FAMILY;
  request.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
  request.body.sdiag_family = static_cast<uint8_t>(local.family());
  request.body.sdiag_protocol = IPPROTO_TCP;
  request.body.idiag_states = 1u << TCP_SYN_RECV;
  request.body.id.idiag_sport = htons(local.port());
  if (::send(fd.get(), &request, sizeof(request), 0) < 0) return keys;
  // The kernel makes each part of the answer when the one before has been read (netlink(7)): never
  // is there anything to wait for.
  alignas(nlmsghdr) char buffer[16384];
  for (;;) {
    const ssize_t received = ::recv(fd.get(), buffer, sizeof(buffer), MSG_DONTWAIT);
    if (received < 0 && errno == EINTR) continue;
    if (received <= 0) return keys;
    auto left = static_cast<unsigned>(received);
    for (const nlmsghdr* message = reinterpret_cast<const nlmsghdr*>(buffer);
         NLMSG_OK(message, left); message = NLMSG_NEXT(message, left)) {
      if (message->nlmsg_type != SOCK_DIAG_BY_FAMILY) return keys;  // the end, or an error
      if (message->nlmsg_len < NLMSG_LENGTH(sizeof(inet_diag_msg))) return keys;
      const inet_diag_sockid& id = static_cast<const inet_diag_msg*>(NLMSG_DATA(message))->id;
      Key key;
      std::memcpy(key.data(), id.idiag_src, sizeof(id.idiag_src));
      std::memcpy(key.data() + 4, id.idiag_dst, sizeof(id.idiag_dst));
      key[8] = id.idiag_dport;
      keys.push_back(key);
    }
  }
}

#else

std::vector<Handshakes::Key> Handshakes::list(const SocketAddress&) { return {}; }

#endif

Handshakes::Handshakes(const SocketAddress& local) : local_(local), keys_(list(local)) {
  std::sort(keys_.begin(), keys_.end());
}

bool Handshakes::under_way() {
  if (keys_.empty()) return false;
  std::vector<Key> now = list(local_);
  std::sort(now.begin(), now.end());
  std::vector<Key> both;
  std::set_intersection(keys_.begin(), keys_.end(), now.begin(), now.end(),
                        std::back_inserter(both));
  keys_ = std::move(both);
  return !keys_.empty();
}

}  // namespace gyre::internal
