#ifndef GYRE_NET_IO_RESULT_H_
#define GYRE_NET_IO_RESULT_H_

#include <cerrno>
#include <cstdint>

namespace gyre::internal {

// What a system call on the hot path gave: a small value, where a Status would allocate.
struct IoResult {
  int64_t count = 0;  // bytes, or an fd
  int error = 0;      // errno

  bool ok() const { return error == 0; }
  bool would_block() const { return error == EAGAIN || error == EWOULDBLOCK; }
};

}  // namespace gyre::internal

#endif  // GYRE_NET_IO_RESULT_H_
