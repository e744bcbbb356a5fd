#ifndef GYRE_LOOP_POLLER_POLLER_FACTORY_H_
#define GYRE_LOOP_POLLER_POLLER_FACTORY_H_

#include <memory>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "gyre/loop/poller/poller.h"

namespace gyre {

// The kernel interface that a loop waits with.
enum class Backend { kDefault, kEpoll, kKqueue, kSelect };

// "default", "epoll", "kqueue", "select".
std::string_view to_string(Backend backend);

// The other way; InvalidArgument names what it was given and what there is.
absl::StatusOr<Backend> parse_backend(std::string_view name);

// Those that are compiled in, the best first.
std::vector<Backend> available_backends();

// What kDefault stands for: the environment variable GYRE_BACKEND (epoll | kqueue | select), which
// is read at each call, else the best that is compiled in. Another backend stands for itself.
absl::StatusOr<Backend> resolve_backend(Backend backend);

// Unimplemented for a backend that is not compiled in.
absl::StatusOr<std::unique_ptr<Poller>> create_poller(Backend backend);

namespace internal {

using PollerMaker = absl::StatusOr<std::unique_ptr<Poller>> (*)();

// For tests: `backend` is made by `maker` from now on; nullptr: as if it were not compiled in.
// Gives what it was made by before. Not while another thread makes loops.
PollerMaker replace_backend(Backend backend, PollerMaker maker);

}  // namespace internal

}  // namespace gyre

#endif  // GYRE_LOOP_POLLER_POLLER_FACTORY_H_
