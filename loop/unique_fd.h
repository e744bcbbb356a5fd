#ifndef GYRE_LOOP_UNIQUE_FD_H_
#define GYRE_LOOP_UNIQUE_FD_H_

#include "gyre/loop/cxx20.h"  // before all else

#include <unistd.h>

#include <utility>

namespace gyre {

// Owns one file descriptor and closes it once. Move-only.
class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(other.release()) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    if (this != &other) reset(other.release());
    return *this;
  }
  ~UniqueFd() { reset(); }

  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }

  // Gives the descriptor away: the caller closes it.
  [[nodiscard]] int release() { return std::exchange(fd_, -1); }

  // Closes what is owned, and takes `fd`. Never retried on EINTR: Linux has freed the number by
  // then, and another thread may own it (close(2), NOTES).
  void reset(int fd = -1) {
    if (fd_ >= 0) ::close(fd_);
    fd_ = fd;
  }

 private:
  int fd_ = -1;
};

}  // namespace gyre

#endif  // GYRE_LOOP_UNIQUE_FD_H_
