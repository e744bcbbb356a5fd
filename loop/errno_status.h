#ifndef GYRE_LOOP_ERRNO_STATUS_H_
#define GYRE_LOOP_ERRNO_STATUS_H_

#include <string>

#include "absl/status/status.h"

namespace gyre::internal {

// A Status whose code fits `error` (an errno) and whose message is "what: errno's text".
// EBADF is InvalidArgument, EEXIST and EADDRINUSE AlreadyExists, ENOENT NotFound, lack of fds or of
// memory ResourceExhausted, ...
absl::Status errno_status(int error, const std::string& what);

}  // namespace gyre::internal

#endif  // GYRE_LOOP_ERRNO_STATUS_H_
