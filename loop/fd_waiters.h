#ifndef GYRE_LOOP_FD_WAITERS_H_
#define GYRE_LOOP_FD_WAITERS_H_

#include "gyre/loop/cxx20.h"  // before all else

#include <cstdint>
#include <memory>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "gyre/loop/handler_table.h"
#include "gyre/loop/task_root.h"

namespace gyre::internal {

// The coroutines of one loop that wait for an fd: one for each direction. Loop thread only.
class FdWaiters {
 public:
  explicit FdWaiters(IOLoop& loop) : loop_(loop) {}
  FdWaiters(const FdWaiters&) = delete;
  FdWaiters& operator=(const FdWaiters&) = delete;

  // Resumes `root` when fd is ready for `event` (READ or WRITE) or has an error; the registration
  // is gone by then. AlreadyExists if another waits for the same, or fd has a handler.
  absl::Status wait(int fd, uint32_t event, std::shared_ptr<TaskRoot> root, uint64_t epoch);
  // Forgets what `root` waits for. No-op if it does not wait.
  void cancel(int fd, uint32_t event, const TaskRoot& root);

 private:
  class Waiter;

  void update(int fd, Waiter& waiter);

  IOLoop& loop_;
  absl::flat_hash_map<int, Waiter*> waiters_;
};

}  // namespace gyre::internal

#endif  // GYRE_LOOP_FD_WAITERS_H_
