#include "gyre/loop/fd_waiters.h"

#include <unistd.h>

#include <utility>

#include "absl/strings/str_format.h"
#include "gyre/loop/io_loop.h"

namespace gyre::internal {

// The registration of one fd. Deletes itself when the loop has released it.
class FdWaiters::Waiter final : public EventHandler {
 public:
  struct Waiting {
    std::shared_ptr<TaskRoot> root;
    uint64_t epoch = 0;

    void resume() {
      if (root != nullptr) root->resume(epoch);
    }
  };

  explicit Waiter(FdWaiters& owner) : owner_(owner) {}

  Waiting& waiting(uint32_t event) { return event == IOLoop::READ ? reader_ : writer_; }
  uint32_t interest() const {
    return (reader_.root != nullptr ? IOLoop::READ : 0) |
           (writer_.root != nullptr ? IOLoop::WRITE : 0);
  }

  void handle_events(int fd, uint32_t events) override {
    Waiting reader, writer;
    if (events & (IOLoop::READ | IOLoop::ERROR)) reader = std::exchange(reader_, {});
    if (events & (IOLoop::WRITE | IOLoop::ERROR)) writer = std::exchange(writer_, {});
    owner_.update(fd, *this);
    reader.resume();
    writer.resume();
  }
  void released() override { delete this; }
  void close_fd(int fd) override { ::close(fd); }
  std::string describe() const override {
    return absl::StrFormat("awaited by %s", reader_.root == nullptr   ? "a writing coroutine"
                                            : writer_.root == nullptr ? "a reading coroutine"
                                                                      : "two coroutines");
  }

 private:
  FdWaiters& owner_;
  Waiting reader_;
  Waiting writer_;
};

absl::Status FdWaiters::wait(int fd, uint32_t event, std::shared_ptr<TaskRoot> root,
                             uint64_t epoch) {
  auto it = waiters_.find(fd);
  if (it != waiters_.end()) {
    Waiter& waiter = *it->second;
    if (waiter.waiting(event).root != nullptr) {
      return absl::AlreadyExistsError(
          absl::StrFormat("another coroutine waits until fd %d is %s", fd,
                          event == IOLoop::READ ? "readable" : "writable"));
    }
    absl::Status status = LoopAccess::update(loop_, fd, waiter.interest() | event);
    if (status.ok()) waiter.waiting(event) = {std::move(root), epoch};
    return status;
  }
  auto waiter = std::make_unique<Waiter>(*this);
  absl::Status status = LoopAccess::add(loop_, fd, *waiter, event, Trigger::kLevel);
  if (!status.ok()) return status;
  waiter->waiting(event) = {std::move(root), epoch};
  waiters_[fd] = waiter.release();
  return absl::OkStatus();
}

void FdWaiters::cancel(int fd, uint32_t event, const TaskRoot& root) {
  auto it = waiters_.find(fd);
  if (it == waiters_.end() || it->second->waiting(event).root.get() != &root) return;
  it->second->waiting(event) = {};
  update(fd, *it->second);
}

void FdWaiters::update(int fd, Waiter& waiter) {
  if (waiter.interest() != IOLoop::NONE) {
    // It fails for an fd that was closed meanwhile, which is never ready.
    LoopAccess::update(loop_, fd, waiter.interest()).IgnoreError();
    return;
  }
  waiters_.erase(fd);
  LoopAccess::remove(loop_, fd);
}

}  // namespace gyre::internal
