#ifndef GYRE_LOOP_EXECUTOR_H_
#define GYRE_LOOP_EXECUTOR_H_

#include "gyre/loop/callback.h"

namespace gyre {

// Runs work somewhere off the loop.
struct Executor {
  virtual ~Executor() = default;
  // Any thread. False: refused, and the work is destroyed unrun.
  virtual bool execute(Callback work) = 0;
};

// The one that run_in_executor uses where none was set: threads that are started as they are
// needed, up to the number of CPUs but at least 4, and kept. Any thread. Lives until the process
// ends.
Executor& default_executor();

}  // namespace gyre

#endif  // GYRE_LOOP_EXECUTOR_H_
