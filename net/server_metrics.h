#ifndef GYRE_NET_SERVER_METRICS_H_
#define GYRE_NET_SERVER_METRICS_H_

#include "gyre/net/tcp_server.h"
#include "gyre/threading/prometheus.h"

namespace gyre {

// Adds what a server has done to a page, with the labels server="NAME", as TCPServerOptions::name
// has it, and loop="NAME". Servers on one page need different names. Any thread, as far as the
// server is concerned; the page is the caller's.
void add_metrics(PrometheusText& page, const TCPServer& server);

}  // namespace gyre

#endif  // GYRE_NET_SERVER_METRICS_H_
