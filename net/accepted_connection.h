#ifndef GYRE_NET_ACCEPTED_CONNECTION_H_
#define GYRE_NET_ACCEPTED_CONNECTION_H_

#include "gyre/loop/unique_fd.h"
#include "gyre/net/admission.h"
#include "gyre/net/socket_address.h"

namespace gyre::internal {

// A connection between the kernel's queue and its stream.
struct AcceptedConnection {
  UniqueFd fd;
  SocketAddress peer = {};  // where somebody wants to know it, else of no family
  Place place = {};         // where connections are limited
};

}  // namespace gyre::internal

#endif  // GYRE_NET_ACCEPTED_CONNECTION_H_
