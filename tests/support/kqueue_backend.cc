#include "gyre/tests/support/kqueue_backend.h"

#include "gyre/loop/poller/kqueue_poller.h"

namespace gyre::testing {

absl::StatusOr<std::unique_ptr<Poller>> create_kqueue_poller() {
  return internal::KqueuePoller::create();
}

}  // namespace gyre::testing
