#ifndef GYRE_LOOP_FUNCTION_HANDLER_H_
#define GYRE_LOOP_FUNCTION_HANDLER_H_

#include <unistd.h>

#include <memory>
#include <utility>

#include "gyre/loop/call_site.h"
#include "gyre/loop/callback.h"
#include "gyre/loop/handler_table.h"

namespace gyre::internal {

// A user's function as the handler of an fd. On the heap; deletes itself when it is released.
class FunctionHandler final : public EventHandler {
 public:
  FunctionHandler(FdHandler handler, CallSite site) : handler_(std::move(handler)), site_(site) {}

  void handle_events(int fd, uint32_t events) override { handler_(fd, events); }
  void released() override { delete this; }
  void close_fd(int fd) override { ::close(fd); }
  CallSite site() const override { return site_; }

 private:
  FdHandler handler_;
  const CallSite site_;
};

// The same for an object that has an fd; it is kept as long as it is registered.
template <class T, class H>
class ObjectHandler final : public EventHandler {
 public:
  ObjectHandler(std::shared_ptr<T> object, H handler, CallSite site)
      : object_(std::move(object)), handler_(std::move(handler)), site_(site) {}

  void handle_events(int, uint32_t events) override { handler_(object_, events); }
  void released() override { delete this; }
  void close_fd(int fd) override {
    if constexpr (requires(T & object) { object.close(); }) {
      static_cast<void>(object_->close());
    } else {
      ::close(fd);
    }
  }
  CallSite site() const override { return site_; }

 private:
  std::shared_ptr<T> object_;
  H handler_;
  const CallSite site_;
};

}  // namespace gyre::internal

#endif  // GYRE_LOOP_FUNCTION_HANDLER_H_
