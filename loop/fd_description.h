#ifndef GYRE_LOOP_FD_DESCRIPTION_H_
#define GYRE_LOOP_FD_DESCRIPTION_H_

#include <string>

namespace gyre::internal {

// What an fd is, for a person: "socket 127.0.0.1:80, peer 10.0.0.7:4711", "listening socket
// [::]:80", "pipe", "anon_inode:[eventfd]", "closed". A few system calls. Any thread.
std::string describe_fd(int fd);

}  // namespace gyre::internal

#endif  // GYRE_LOOP_FD_DESCRIPTION_H_
