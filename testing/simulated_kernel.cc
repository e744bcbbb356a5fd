#include "gyre/testing/simulated_kernel.h"

#include <cerrno>
#include <memory>
#include <string_view>
#include <utility>

#include "absl/strings/str_format.h"

namespace gyre::testing {

class SimulatedPoller final : public Poller {
 public:
  explicit SimulatedPoller(SimulatedKernel& kernel) : kernel_(kernel) {}

  std::string_view name() const override { return "simulated"; }
  bool supports_edge() const override { return true; }

  absl::Status add(int fd, uint32_t interest, uint64_t token, Trigger trigger) override {
    if (!kernel_.add_status.ok()) return kernel_.add_status;
    return kernel_.watch(fd, interest, token, trigger);
  }
  absl::Status modify(int fd, uint32_t interest, uint64_t token, Trigger trigger) override {
    return kernel_.watch(fd, interest, token, trigger);
  }
  absl::Status remove(int fd) override {
    kernel_.tokens.erase(fd);
    if (auto file = kernel_.files_.find(fd); file != kernel_.files_.end()) {
      file->second.watched = false;
    }
    return absl::OkStatus();
  }

  WaitResult wait(std::chrono::nanoseconds timeout) override {
    kernel_.waits.push_back(timeout);
    events_.clear();
    WaitResult result;
    if (kernel_.during_wait) kernel_.during_wait(events_, result.error);
    kernel_.collect(events_);
    const auto ended = [&] { return kernel_.wakes != wakes_seen_ || !events_.empty(); };
    if (!ended() && result.error == 0) {
      if (timeout.count() > 0) {
        kernel_.clock.advance(timeout);
      } else if (timeout.count() < 0) {
        if (kernel_.on_deadlock) kernel_.on_deadlock();
        kernel_.collect(events_);
        if (!ended()) result.error = EDEADLK;
      }
    }
    const int wakes = kernel_.wakes;
    result.woken = std::exchange(wakes_seen_, wakes) != wakes;
    result.events = events_;
    return result;
  }

  void wake() noexcept override { ++kernel_.wakes; }

 private:
  SimulatedKernel& kernel_;
  int wakes_seen_ = kernel_.wakes;  // a wake-up between two waits ends the next one
  std::vector<Event> events_;
};

IOLoopOptions SimulatedKernel::options(IOLoopOptions base) {
  if (base.name == IOLoopOptions().name) base.name = "simulated";
  base.make_current = false;
  base.clock = &clock;
  base.poller_factory = [this]() -> absl::StatusOr<std::unique_ptr<Poller>> {
    return std::make_unique<SimulatedPoller>(*this);
  };
  return base;
}

int SimulatedKernel::open() {
  files_[++last_fd_];
  return last_fd_;
}

void SimulatedKernel::close(int fd) {
  files_.erase(fd);
  tokens.erase(fd);
}

void SimulatedKernel::set_ready(int fd, uint32_t events) {
  File& file = files_[fd];
  file.ready = events;
  file.news = true;
}

std::optional<uint32_t> SimulatedKernel::watched(int fd) const {
  const auto file = files_.find(fd);
  if (file == files_.end() || !file->second.watched) return std::nullopt;
  return file->second.interest;
}

absl::Status SimulatedKernel::watch(int fd, uint32_t interest, uint64_t token, Trigger trigger) {
  auto file = files_.find(fd);
  if (file == files_.end()) {
    if (!any_fd) {
      return absl::InvalidArgumentError(
          absl::StrFormat("fd %d is not open in the simulated kernel: see open()", fd));
    }
    file = files_.try_emplace(fd).first;
  }
  file->second.watched = true;
  file->second.news = true;
  file->second.interest = interest;
  file->second.trigger = trigger;
  tokens[fd] = token;
  return absl::OkStatus();
}

void SimulatedKernel::collect(std::vector<Poller::Event>& events) {
  auto file = files_.lower_bound(next_reported_);
  for (size_t left = files_.size(); left > 0; --left, ++file) {
    if (file == files_.end()) file = files_.begin();
    if (events.size() >= Poller::kMaxEventsPerWait) break;
    File& state = file->second;
    if (!state.watched || (state.trigger == Trigger::kEdge && !state.news)) continue;
    const uint32_t seen = state.ready & (state.interest | PollEvents::kError);
    if (seen == 0) continue;
    state.news = false;
    events.push_back({tokens[file->first], seen});
  }
  next_reported_ = file == files_.end() ? 0 : file->first;
}

}  // namespace gyre::testing
