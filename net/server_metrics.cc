#include "gyre/net/server_metrics.h"

namespace gyre {
namespace {

using Labels = PrometheusText::Labels;

Labels with(Labels labels, const char* name, const char* value) {
  labels.emplace_back(name, value);
  return labels;
}

void add_acceptor(PrometheusText& page, const Labels& labels, const AcceptMetrics& m) {
  page.counter("gyre_server_accepted_total", "Connections that were let in.", labels, m.accepted);
  const auto rejected = [&](const char* limit, uint64_t count) {
    page.counter("gyre_server_rejected_total", "Connections closed at once, by the limit.",
                 with(labels, "limit", limit), count);
  };
  rejected("total", m.rejected_total);
  rejected("loop", m.rejected_per_loop);
  rejected("source", m.rejected_per_source);
  rejected("rate", m.rejected_rate);
  page.counter("gyre_server_refused_total", "Connections closed as every loop was closed.", labels,
               m.refused);
  page.counter("gyre_server_shed_total", "Connections closed for lack of descriptors.", labels,
               m.shed);
  page.counter("gyre_server_failed_accepts_total", "Connections that failed before.", labels,
               m.transient);
  page.counter("gyre_server_accept_batches_total", "Batches of accepts.", labels, m.batches);
  page.counter("gyre_server_hand_overs_total", "Posts of connections to loops.", labels,
               m.hand_overs);
  page.counter("gyre_server_back_offs_total", "Pauses for lack of descriptors.", labels,
               m.back_offs);
  page.counter("gyre_server_accept_waits_total", "Pauses at a limit.", labels, m.waits);
}

}  // namespace

void add_metrics(PrometheusText& page, const TCPServer& server) {
  for (const TCPServer::AcceptorStats& acceptor : server.acceptors()) {
    add_acceptor(page, {{"server", server.name()}, {"loop", acceptor.loop}}, acceptor.metrics);
  }
  for (size_t i = 0; i < server.pool().size(); ++i) {
    const Labels labels = {{"server", server.name()}, {"loop", server.pool().loop(i).name()}};
    const TCPServer::LoopStats stats = server.stats(i);
    page.counter("gyre_server_streams_total", "Connections that became streams.", labels,
                 stats.accepted);
    page.gauge("gyre_server_connections", "Connections that are open.", labels, stats.open);
  }
}

}  // namespace gyre
