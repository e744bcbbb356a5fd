#ifndef GYRE_NET_SERVER_METRICS_H_
#define GYRE_NET_SERVER_METRICS_H_

#include "gyre/net/tcp_server.h"
#include "gyre/threading/prometheus.h"

namespace gyre {

// Writes what a server has done, with the labels server="NAME", as TCPServerOptions::name has it,
// and loop="NAME". Servers on one page need different names. Any thread.
void add_metrics(PrometheusText& text, const TCPServer& server);

}  // namespace gyre

#endif  // GYRE_NET_SERVER_METRICS_H_
