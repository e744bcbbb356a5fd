#ifndef GYRE_NET_ACCEPTED_CONNECTION_H_
#define GYRE_NET_ACCEPTED_CONNECTION_H_

#include <memory>

#include "gyre/loop/unique_fd.h"
#include "gyre/net/admission.h"
#include "gyre/net/socket_address.h"

namespace gyre::internal {

// A connection between the kernel's queue and its stream. Small: it is moved a few times, and many
// wait in a row.
struct AcceptedConnection {
  UniqueFd fd;
  std::unique_ptr<SocketAddress> peer = {};  // where somebody wants to know it
  Place place = {};                          // where connections are limited

  // Of no family where nobody wants to know it.
  const SocketAddress& peer_address() const {
    static const SocketAddress unknown;
    return peer != nullptr ? *peer : unknown;
  }
};

}  // namespace gyre::internal

#endif  // GYRE_NET_ACCEPTED_CONNECTION_H_
