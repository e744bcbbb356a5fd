#ifndef GYRE_NET_IN_TURN_H_
#define GYRE_NET_IN_TURN_H_

#include "gyre/loop/cxx20.h"  // before all else

#include <cstdint>
#include <map>

#include "gyre/loop/callback.h"
#include "gyre/loop/mutex.h"

namespace gyre::internal {

// Runs what several callers have to do in the order in which they came, each when it is ready. Any
// thread. A turn that was taken has to become ready, or those behind it never come.
class InTurn {
 public:
  uint64_t take();
  // Runs `then` once all earlier turns have run: here, or in the thread of one of them.
  void ready(uint64_t turn, Callback then);

 private:
  // Null: whose turn it is is not ready yet.
  Callback take_next();

  Mutex mutex_;
  uint64_t taken_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t begun_ ABSL_GUARDED_BY(mutex_) = 0;
  bool running_ ABSL_GUARDED_BY(mutex_) = false;
  std::map<uint64_t, Callback> ready_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace gyre::internal

#endif  // GYRE_NET_IN_TURN_H_
