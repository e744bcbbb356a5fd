// How a server ends: it stops listening, drains its connections, or closes them.

#include <algorithm>
#include <future>

#include "gyre/net/after_all.h"
#include "gyre/net/call_on_loop.h"
#include "gyre/net/in_turn.h"
#include "gyre/net/server_drain.h"
#include "gyre/net/tcp_server.h"

namespace gyre {
namespace {

using internal::LoopConnections;

// What stop_listening() waits for handshakes that had begun: a round trip to the other end of the
// world, but not what a client that has gone would take.
constexpr std::chrono::milliseconds kHandshakeLimit(250);
constexpr std::chrono::milliseconds kFirstHandshakeLook(1);

// Ends an acceptor, on its loop, when nobody is at the door any more. Lets go of `after_all` then,
// or when the loop is closed.
void stop_acceptor(IOLoop& loop, std::shared_ptr<std::unique_ptr<Acceptor>> acceptor,
                   std::shared_ptr<internal::AfterAll> after_all, IOLoop::TimePoint deadline,
                   IOLoop::Duration pause) {
  const bool complete = *acceptor == nullptr || (*acceptor)->last_call();
  if (complete || loop.time() >= deadline) return acceptor->reset();
  loop.call_later(pause, [&loop, acceptor = std::move(acceptor), after_all = std::move(after_all),
                          deadline, pause]() mutable {
    stop_acceptor(loop, std::move(acceptor), std::move(after_all), deadline, 2 * pause);
  });
}

}  // namespace

bool TCPServer::on_own_thread() const {
  for (const std::shared_ptr<LoopConnections>& loop : loops_) {
    if (loop->loop().in_loop_thread()) return true;
  }
  internal::MutexLock lock(mutex_);
  return accept_thread_ != nullptr && accept_thread_->loop().in_loop_thread();
}

// `then` follows when all have stopped. Off the own threads it does not wait for loops that do not
// run: these may be used from here.
void TCPServer::stop_acceptors(const std::vector<Listening>& listening, IOLoop::TimePoint deadline,
                               Callback then) const {
  const auto end = std::min(deadline, internal::saturating_add(time(), kHandshakeLimit));
  const bool may_use_others = !on_own_thread();
  auto after_all = std::make_shared<internal::AfterAll>(std::move(then));
  for (const Listening& entry : listening) {
    if (may_use_others && !entry.loop->running()) {
      entry.acceptor->reset();
      continue;
    }
    entry.loop->add_callback([loop = entry.loop, acceptor = entry.acceptor, after_all, end] {
      stop_acceptor(*loop, acceptor, after_all, end, kFirstHandshakeLook);
    });
  }
}

// In turn: what another call is stopping may still accept, and `then` has to see that.
void TCPServer::stop_listening_then(IOLoop::TimePoint deadline, Callback then) {
  std::vector<Listening> listening;
  uint64_t turn;
  {
    internal::MutexLock lock(mutex_);
    listening = std::exchange(listening_, {});
    turn = stops_->take();
  }
  stop_acceptors(listening, deadline, [stops = stops_, turn, then = std::move(then)]() mutable {
    stops->ready(turn, std::move(then));
  });
}

bool TCPServer::some_loop_runs() const {
  {
    internal::MutexLock lock(mutex_);
    if (accept_thread_ != nullptr) return true;
  }
  return std::any_of(loops_.begin(), loops_.end(),
                     [](const auto& loop) { return loop->loop().running(); });
}

void TCPServer::stop_listening() {
  auto stopped = std::make_shared<std::promise<void>>();
  std::future<void> done = stopped->get_future();
  stop_listening_then(IOLoop::TimePoint::max(), [stopped] { stopped->set_value(); });
  if (on_own_thread()) return;
  while (done.wait_for(internal::kLoopLook) != std::future_status::ready) {
    if (!some_loop_runs()) return;  // stopped meanwhile, a loop never comes to it
  }
}

std::shared_ptr<internal::DrainProgress> TCPServer::begin_drain(
    IOLoop::TimePoint deadline, absl::AnyInvocable<void(DrainReport)> done) {
  std::vector<std::string> names;
  for (const std::shared_ptr<LoopConnections>& loop : loops_) names.push_back(loop->loop().name());
  auto progress = std::make_shared<internal::DrainProgress>(std::move(names));
  std::vector<internal::DrainedLoop> loops(loops_.begin(), loops_.end());
  stop_listening_then(deadline, [loops = std::move(loops), deadline, progress,
                                 done = std::move(done)]() mutable {
    internal::drain_loops(loops, deadline, progress, std::move(done));
  });
  return progress;
}

void TCPServer::wait_for(const internal::DrainProgress& progress,
                         IOLoop::TimePoint deadline) const {
  constexpr std::chrono::seconds kGrace(1);
  while (!progress.wait_for(internal::kLoopLook)) {
    // The connections of a loop that does not run any more end when it is closed.
    const auto running = std::count_if(loops_.begin(), loops_.end(),
                                       [](const auto& loop) { return loop->loop().running(); });
    if (running == 0) return;
    const bool late = time() > internal::saturating_add(deadline, kGrace);
    if (late && static_cast<size_t>(running) < loops_.size()) return;
  }
}

DrainReport TCPServer::drain(IOLoop::Duration deadline) {
  const auto end = internal::saturating_add(time(), deadline);
  const std::shared_ptr<internal::DrainProgress> progress = begin_drain(end, [](DrainReport) {});
  if (!on_own_thread()) wait_for(*progress, end);
  return progress->report();
}

DrainReport TCPServer::close_now() { return drain(IOLoop::Duration::zero()); }

Future<DrainReport> TCPServer::drain_async(IOLoop::Duration deadline) {
  Promise<DrainReport> promise;
  Future<DrainReport> future = promise.get_future();
  begin_drain(internal::saturating_add(time(), deadline),
              [promise = std::move(promise)](DrainReport report) mutable {
                promise.set_value(std::move(report));
              });
  return future;
}

}  // namespace gyre
