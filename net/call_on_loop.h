#ifndef GYRE_NET_CALL_ON_LOOP_H_
#define GYRE_NET_CALL_ON_LOOP_H_

#include "gyre/loop/cxx20.h"  // before all else

#include <chrono>
#include <future>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_format.h"
#include "gyre/loop/io_loop.h"
#include "gyre/loop/log.h"

namespace gyre::internal {

// How often who waits for a loop looks whether it still runs: one that was stopped never answers.
inline constexpr std::chrono::milliseconds kLoopLook(10);

// Runs f on the loop, which another thread runs, and waits for its result.
template <class F>
absl::Status call_on_loop(IOLoop& loop, F f) {
  GYRE_CHECK(!loop.in_loop_thread(),
             "TCPServer::listen on a thread of its own loop \"%s\": it would wait for itself",
             loop.name());
  // Told when the callback is destroyed: after it ran, or unrun by a loop that closes.
  struct Answer {
    absl::Status status;
    std::promise<absl::Status> promise = {};
    ~Answer() { promise.set_value(std::move(status)); }
  };
  auto answer = std::make_shared<Answer>();
  answer->status =
      absl::FailedPreconditionError(absl::StrFormat("loop \"%s\" is closed", loop.name()));
  std::future<absl::Status> done = answer->promise.get_future();
  if (!loop.add_callback([f = std::move(f), answer]() mutable { answer->status = f(); })) {
    return answer->status;
  }
  answer.reset();
  while (done.wait_for(kLoopLook) != std::future_status::ready) {
    if (!loop.running())
      return absl::FailedPreconditionError(
          absl::StrFormat("loop \"%s\" does not run", loop.name()));
  }
  return done.get();
}

}  // namespace gyre::internal

#endif  // GYRE_NET_CALL_ON_LOOP_H_
