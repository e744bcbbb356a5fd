#include "gyre/loop/errno_status.h"

#include <cerrno>
#include <system_error>

namespace gyre::internal {
namespace {

absl::StatusCode code_of(int error) {
  switch (error) {
    case 0:
      return absl::StatusCode::kOk;
    case EBADF:
    case EINVAL:
    case ENAMETOOLONG:
    case ENOTSOCK:
    case EDESTADDRREQ:
    case EPERM:
      return absl::StatusCode::kInvalidArgument;
    case EEXIST:
    case EADDRINUSE:
      return absl::StatusCode::kAlreadyExists;
    case ENOENT:
      return absl::StatusCode::kNotFound;
    case EACCES:
      return absl::StatusCode::kPermissionDenied;
    case EMFILE:
    case ENFILE:
    case ENOMEM:
    case ENOSPC:
    case ENOBUFS:
    case EAGAIN:
      return absl::StatusCode::kResourceExhausted;
    case ETIMEDOUT:
      return absl::StatusCode::kDeadlineExceeded;
    case ECANCELED:
      return absl::StatusCode::kCancelled;
    case ENOSYS:
    case EOPNOTSUPP:
    case EAFNOSUPPORT:
    case EPROTONOSUPPORT:
      return absl::StatusCode::kUnimplemented;
    case ECONNREFUSED:
    case ECONNRESET:
    case ECONNABORTED:
    case EHOSTUNREACH:
    case ENETUNREACH:
    case ENETDOWN:
    case EADDRNOTAVAIL:
    case EPIPE:
      return absl::StatusCode::kUnavailable;
    default:
      return absl::StatusCode::kInternal;
  }
}

// errno's text says what is wrong, and this what to do.
const char* cure_of(int error) {
  switch (error) {
    case EMFILE:
      return "; the process has reached its limit: raise it (ulimit -n), or open fewer";
    case ENFILE:
      return "; the machine has reached its limit (sysctl fs.file-max)";
    default:
      return "";
  }
}

}  // namespace

absl::Status errno_status(int error, const std::string& what) {
  // generic_category().message() is thread-safe where strerror() need not be.
  return absl::Status(code_of(error),
                      what + ": " + std::generic_category().message(error) + cure_of(error));
}

}  // namespace gyre::internal
