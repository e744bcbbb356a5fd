#ifndef GYRE_LOOP_LOOP_ACCESS_H_
#define GYRE_LOOP_LOOP_ACCESS_H_

#include <cstdint>
#include <exception>
#include <memory>
#include <span>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "gyre/loop/callback_queue.h"
#include "gyre/loop/handler_table.h"

namespace gyre {

class IOLoop;

namespace internal {

class FdWaiters;
class IdleWheel;
struct LoopCounters;

// What gyre's own layers may ask of a loop and its users may not. Loop thread only, but for
// queue().
struct LoopAccess {
  // Like IOLoop's handlers, for an EventHandler, which is not owned: it stays until released().
  // kEdge and kExclusive become kLevel where the backend does not have them.
  static absl::Status add(IOLoop& loop, int fd, EventHandler& handler, uint32_t events,
                          Trigger trigger);
  static absl::Status update(IOLoop& loop, int fd, uint32_t events);
  // Allowed while the loop closes, too. No-op without a registration.
  static void remove(IOLoop& loop, int fd);
  // The same for an fd that the caller closes next: see Poller::remove_closing.
  static void remove_closing(IOLoop& loop, int fd);

  // visit(handler) for each that has this owner. It may not add or remove any.
  static void for_each_handler(IOLoop& loop, const void* owner,
                               absl::FunctionRef<void(EventHandler&)> visit);

  // As the loop's own methods do: a checked error in the wrong thread.
  static void assert_here(const IOLoop& loop, const char* what);
  // Calls what a user gave, as the loop itself does: an exception ends here.
  template <class F>
  static void call(IOLoop& loop, F&& f);

  static FdWaiters& fd_waiters(IOLoop& loop);
  static void report_exception(IOLoop& loop, std::exception_ptr error);

  static bool supports_edge(const IOLoop& loop);

  // Made at first use; lives as long as the loop.
  static IdleWheel& idle_wheel(IOLoop& loop);

  // For what net/ counts of its streams. Lives as long as the loop.
  static LoopCounters& counters(IOLoop& loop);

  // Outlives the loop. Any thread.
  static std::shared_ptr<CallbackQueue> queue(const IOLoop& loop);

  // One buffer to receive into and one to send from, for all streams of the loop, allocated at
  // first use: what is in them lasts until the next read, or write, of any stream.
  static std::span<char> receive_buffer(IOLoop& loop);
  static std::span<char> send_buffer(IOLoop& loop);

  // What net/ keeps with the loop for its streams. Destroyed when the loop is closed.
  static std::shared_ptr<void>& streams(IOLoop& loop);
};

}  // namespace internal
}  // namespace gyre

#endif  // GYRE_LOOP_LOOP_ACCESS_H_
