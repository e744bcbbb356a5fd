// The fds that a loop watches.

#include <memory>
#include <utility>

#include "absl/strings/str_format.h"
#include "gyre/loop/fork_detection.h"
#include "gyre/loop/io_loop.h"

namespace gyre {
namespace {

constexpr uint32_t kKnownEvents = IOLoop::READ | IOLoop::WRITE | IOLoop::ERROR;

}  // namespace

absl::Status IOLoop::register_handler(int fd, internal::EventHandler& handler, uint32_t events,
                                      Trigger trigger, bool internal) {
  if (absl::Status status = check_usable("add_handler"); !status.ok()) return status;
  affinity_.assert_here("add_handler");
  if (fd < 0)
    return absl::InvalidArgumentError(absl::StrFormat("add_handler: fd %d is negative", fd));
  if (events & ~kKnownEvents) {
    return absl::InvalidArgumentError(absl::StrFormat("add_handler: unknown events 0x%x", events));
  }
  if (handlers_.find(fd) != nullptr) {
    return absl::AlreadyExistsError(
        absl::StrFormat("add_handler: fd %d has a handler already", fd));
  }
  const bool supported =
      trigger == Trigger::kEdge ? poller_->supports_edge() : poller_->supports_exclusive();
  if (!supported) trigger = Trigger::kLevel;
  uint32_t interest = events & (READ | WRITE);
  if (trigger == Trigger::kEdge) interest |= PollEvents::kPeerEnded;
  const uint32_t generation = handlers_.next_generation();
  const uint64_t token = internal::HandlerTable::token(fd, generation);
  if (absl::Status status = poller_->add(fd, interest, token, trigger); !status.ok()) return status;
  handlers_.insert(fd, {.handler = &handler,
                        .generation = generation,
                        .interest = static_cast<uint16_t>(interest),
                        .trigger = trigger,
                        .internal = internal,
                        .added = internal::HandlerTable::tick_of(clock_.now())});
  return absl::OkStatus();
}

void IOLoop::unregister_handler(int fd, bool closing) {
  if (handlers_.find(fd) == nullptr) return;
  handlers_.remove(fd);
  // A child of fork() shares the set of watched fds with its parent, and must not change it.
  if (internal::fork_generation() == fork_generation_) {
    if (closing) {
      poller_->remove_closing(fd);
    } else {
      poller_->remove(fd).IgnoreError();
    }
  }
  // While nobody runs the loop no handler is on the stack.
  if (!affinity_.running()) handlers_.release_removed();
}

absl::Status IOLoop::add_handler(int fd, Handler handler, uint32_t events, CallSite site) {
  GYRE_CHECK(handler, "add_handler: the handler callback is null");
  auto owned = std::make_unique<internal::FunctionHandler>(std::move(handler), site);
  absl::Status status = register_handler(fd, *owned, events, Trigger::kLevel);
  if (status.ok()) static_cast<void>(owned.release());  // deletes itself when it is released
  return status;
}

absl::Status IOLoop::change_interest(int fd, uint32_t events, bool internal) {
  if (absl::Status status = check_usable("update_handler"); !status.ok()) return status;
  affinity_.assert_here("update_handler");
  if (events & ~kKnownEvents) {
    return absl::InvalidArgumentError(
        absl::StrFormat("update_handler: unknown events 0x%x", events));
  }
  internal::HandlerTable::Registration* registration = handlers_.find(fd);
  if (registration == nullptr || registration->internal != internal) {
    return absl::NotFoundError(absl::StrFormat("update_handler: fd %d has no handler", fd));
  }
  uint32_t interest = events & (READ | WRITE);
  if (registration->trigger == Trigger::kEdge) interest |= PollEvents::kPeerEnded;
  const uint64_t token = internal::HandlerTable::token(fd, registration->generation);
  absl::Status status = poller_->modify(fd, interest, token, registration->trigger);
  if (status.ok()) registration->interest = static_cast<uint16_t>(interest);
  return status;
}

absl::Status IOLoop::update_handler(int fd, uint32_t events) {
  return change_interest(fd, events, /*internal=*/false);
}

absl::Status IOLoop::remove_handler(int fd) {
  if (absl::Status status = check_usable("remove_handler"); !status.ok()) return status;
  affinity_.assert_here("remove_handler");
  const internal::HandlerTable::Registration* registration = handlers_.find(fd);
  if (registration == nullptr || registration->internal) {
    return absl::NotFoundError(absl::StrFormat("remove_handler: fd %d has no handler", fd));
  }
  unregister_handler(fd);
  return absl::OkStatus();
}

}  // namespace gyre
