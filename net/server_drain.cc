#include "gyre/net/server_drain.h"

#include <unordered_map>
#include <utility>

#include "gyre/loop/io_loop.h"
#include "gyre/loop/loop_access.h"
#include "gyre/net/after_all.h"
#include "gyre/net/io_stream.h"

namespace gyre::internal {
namespace {

// One loop's part of a drain. Used on the loop's thread, but may end in whoever closes the loop.
class LoopDrain final : public LoopConnections::Watcher,
                        public std::enable_shared_from_this<LoopDrain> {
 public:
  LoopDrain(std::shared_ptr<LoopConnections> connections, size_t index,
            std::chrono::steady_clock::time_point deadline, std::shared_ptr<DrainProgress> progress,
            std::shared_ptr<AfterAll> after_all)
      : connections_(std::move(connections)),
        index_(index),
        deadline_(deadline),
        progress_(std::move(progress)),
        after_all_(std::move(after_all)) {}

  void begin() {
    connections_->drop_pending();  // they have asked for nothing yet
    if (connections_->has_none()) return report();
    connections_->watch(shared_from_this());
    connections_->for_each([this](IOStream& stream) { note(stream); });
    IOLoop& loop = connections_->loop();
    if (loop.time() >= deadline_) return connections_->cut_off_all();
    connections_->for_each([](IOStream& stream) { stream.close_when_idle(); });
    timeout_ = loop.call_at(deadline_, [self = weak_from_this()] {
      if (const std::shared_ptr<LoopDrain> drain = self.lock()) drain->connections_->cut_off_all();
    });
  }

  void added(IOStream& stream) override {
    note(stream);
    stream.close_when_idle();
  }
  // Cut off by this drain, or by one that began later.
  void removed(const IOStream& stream, bool cut_off) override {
    ++(cut_off ? result_.cut_off : result_.served);
    result_.last_was_cut_off = cut_off;
    const auto peer = peers_.extract(&stream);
    result_.last = peer.empty() ? std::nullopt : std::optional(peer.mapped());
    result_.ended = std::chrono::steady_clock::now();
  }
  void all_gone() override {
    connections_->loop().remove_timeout(timeout_);
    report();
  }

 private:
  // A closed stream cannot say any more who it was.
  void note(const IOStream& stream) {
    if (absl::StatusOr<SocketAddress> peer = stream.peer_address(); peer.ok()) {
      peers_.emplace(&stream, *peer);
    }
  }
  void report() { progress_->loop_done(index_, result_); }

  const std::shared_ptr<LoopConnections> connections_;
  const size_t index_;
  const std::chrono::steady_clock::time_point deadline_;
  const std::shared_ptr<DrainProgress> progress_;
  const std::shared_ptr<AfterAll> after_all_;
  DrainProgress::LoopResult result_;
  std::unordered_map<const IOStream*, SocketAddress> peers_;
  IOLoop::Timeout timeout_;
};

}  // namespace

DrainProgress::DrainProgress(std::vector<std::string> loop_names)
    : started_(std::chrono::steady_clock::now()) {
  for (std::string& name : loop_names) report_.loops.push_back({.name = std::move(name)});
}

void DrainProgress::loop_done(size_t loop, const LoopResult& result) {
  MutexLock lock(mutex_);
  report_.loops[loop].served = result.served;
  report_.loops[loop].cut_off = result.cut_off;
  report_.served += result.served;
  report_.cut_off += result.cut_off;
  if (!result.last.has_value() || result.ended < last_ended_) return;
  report_.last = result.last;
  report_.last_was_cut_off = result.last_was_cut_off;
  last_ended_ = result.ended;
}

void DrainProgress::finish() {
  MutexLock lock(mutex_);
  report_.took = std::chrono::steady_clock::now() - started_;
  report_.finished = true;
  finished_.notify_all();
}

DrainReport DrainProgress::report() const {
  MutexLock lock(mutex_);
  DrainReport report = report_;
  if (!report.finished) report.took = std::chrono::steady_clock::now() - started_;
  return report;
}

bool DrainProgress::wait_for(std::chrono::nanoseconds limit) const {
  const auto end = std::chrono::steady_clock::now() + limit;
  MutexLock lock(mutex_);
  while (!report_.finished) {
    if (finished_.wait_until(mutex_, end) == std::cv_status::timeout) return report_.finished;
  }
  return true;
}

DrainedLoop::DrainedLoop(std::shared_ptr<LoopConnections> of_loop)
    : connections(std::move(of_loop)), queue(LoopAccess::queue(connections->loop())) {}

void drain_loops(const std::vector<DrainedLoop>& loops,
                 std::chrono::steady_clock::time_point deadline,
                 std::shared_ptr<DrainProgress> progress,
                 absl::AnyInvocable<void(DrainReport)> done) {
  auto after_all = std::make_shared<AfterAll>([progress, done = std::move(done)]() mutable {
    progress->finish();
    done(progress->report());
  });
  for (size_t i = 0; i < loops.size(); ++i) {
    auto drain =
        std::make_shared<LoopDrain>(loops[i].connections, i, deadline, progress, after_all);
    loops[i].queue->post(CallSite(), [drain] { drain->begin(); });
  }
}

}  // namespace gyre::internal
