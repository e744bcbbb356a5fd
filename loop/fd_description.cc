#include "gyre/loop/fd_description.h"

#include <netdb.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstddef>

namespace gyre::internal {
namespace {

std::string printable(const char* bytes, size_t size) {
  std::string text(bytes, size);
  for (char& c : text) {
    if (c < ' ' || c > '~') c = '@';  // an abstract name begins with a NUL, and is written so
  }
  return text;
}

std::string unix_name(const sockaddr_storage& address, socklen_t length) {
  const char* const path = reinterpret_cast<const sockaddr_un&>(address).sun_path;
  const size_t before = offsetof(sockaddr_un, sun_path);
  if (length <= before) return "unix:";
  size_t size = length - before;
  while (size > 1 && path[size - 1] == '\0') --size;
  return "unix:" + printable(path, size);
}

// "" for a socket without an address.
std::string describe_address(const sockaddr_storage& address, socklen_t length) {
  if (address.ss_family == AF_UNIX) return unix_name(address, length);
  char host[NI_MAXHOST], port[NI_MAXSERV];
  if (::getnameinfo(reinterpret_cast<const sockaddr*>(&address), length, host, sizeof(host), port,
                    sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
    return "";
  }
  return (address.ss_family == AF_INET6 ? "[" + std::string(host) + "]" : std::string(host)) + ":" +
         port;
}

template <class Get>
std::string address_of(int fd, Get get) {
  sockaddr_storage address{};
  socklen_t length = sizeof(address);
  if (get(fd, reinterpret_cast<sockaddr*>(&address), &length) != 0) return "";
  return describe_address(address, length);
}

std::string describe_socket(int fd) {
  int listens = 0;
  socklen_t size = sizeof(listens);
  std::string text = "socket";
  if (::getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) == 0 && listens != 0)
    text = "listening socket";
  const std::string own = address_of(fd, ::getsockname), peer = address_of(fd, ::getpeername);
  if (!own.empty()) text += " " + own;
  if (!peer.empty()) text += ", peer " + peer;
  return text;
}

// Linux names every open file; elsewhere there is nothing of this path.
std::string name_of_file(int fd) {
  char name[256];
  const ssize_t size =
      ::readlink(("/proc/self/fd/" + std::to_string(fd)).c_str(), name, sizeof(name));
  return size > 0 ? printable(name, static_cast<size_t>(size)) : "file";
}

}  // namespace

std::string describe_fd(int fd) {
  struct stat status;
  if (::fstat(fd, &status) != 0) return "closed";
  if (S_ISSOCK(status.st_mode)) return describe_socket(fd);
  if (S_ISFIFO(status.st_mode)) return "pipe";
  return name_of_file(fd);
}

}  // namespace gyre::internal
