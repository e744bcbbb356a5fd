#ifndef GYRE_TESTS_SUPPORT_KQUEUE_BACKEND_H_
#define GYRE_TESTS_SUPPORT_KQUEUE_BACKEND_H_

#include <memory>

#include "absl/status/statusor.h"
#include "gyre/loop/poller/poller.h"

namespace gyre::testing {

// The kqueue backend, on every platform: over the system's kqueue(2) where it has one, elsewhere over
// the double in tests/support/kqueue_shim. For IOLoopOptions::poller_factory, as it is.
absl::StatusOr<std::unique_ptr<Poller>> create_kqueue_poller();

}  // namespace gyre::testing

#endif  // GYRE_TESTS_SUPPORT_KQUEUE_BACKEND_H_
