// How loops that share a listening socket are registered for it, as the kernel tells (proc(5)).

#include <dirent.h>

#include <cstdint>
#include <fstream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gtest/gtest.h"
#include "gyre/loop/io_loop.h"
#include "gyre/net/acceptor.h"
#include "gyre/net/listen_socket.h"
#include "gyre/net/socket_address.h"

namespace gyre::testing {
namespace {

// EPOLLEXCLUSIVE of <sys/epoll.h>, which older ones do not name.
constexpr uint64_t kExclusive = 1u << 28;

// The events of every registration of `fd` in the epoll sets of this process: the lines
// "tfd: FD events: HEX ..." of /proc/self/fdinfo.
std::vector<uint64_t> epoll_registrations_of(int fd) {
  std::vector<uint64_t> events;
  const std::string folder = "/proc/self/fdinfo";
  std::unique_ptr<DIR, int (*)(DIR*)> listing(::opendir(folder.c_str()), &::closedir);
  if (listing == nullptr) return events;
  while (const dirent* entry = ::readdir(listing.get())) {
    std::ifstream info(folder + "/" + entry->d_name);
    for (std::string word; info >> word;) {
      if (word != "tfd:") continue;
      int target;
      std::string events_word, mask;
      info >> target >> events_word >> mask;
      if (target == fd) events.push_back(std::stoull(mask, nullptr, 16));
    }
  }
  return events;
}

class SharedListener : public ::testing::Test {
 protected:
  void SetUp() override {
    IOLoopOptions options;
    options.backend = Backend::kEpoll;
    options.make_current = false;
    for (int i = 0; i < 3; ++i) {
      absl::StatusOr<std::unique_ptr<IOLoop>> loop = IOLoop::create(options);
      if (absl::IsUnimplemented(loop.status())) GTEST_SKIP() << loop.status();
      ASSERT_TRUE(loop.ok()) << loop.status();
      loops_.push_back(*std::move(loop));
    }
  }
  void accept_on_all(bool exclusive) {
    for (const std::unique_ptr<IOLoop>& loop : loops_) {
      Acceptor::Options options;
      options.exclusive = exclusive;
      acceptors_.push_back(
          Acceptor::create(
              *loop, socket_, [](std::vector<internal::AcceptedConnection>&) {}, std::move(options))
              .value());
    }
  }

  std::shared_ptr<ListenSocket> socket_ = std::make_shared<ListenSocket>(
      ListenSocket::bind(SocketAddress::parse("127.0.0.1", 0).value()).value());
  std::vector<std::unique_ptr<IOLoop>> loops_;
  std::vector<std::unique_ptr<Acceptor>> acceptors_;  // gone before their loops
};

// Otherwise a connection wakes all of them, and all but one for nothing.
TEST_F(SharedListener, WakesOneOfTheLoopsThatSleep) {
  accept_on_all(/*exclusive=*/true);
  const std::vector<uint64_t> events = epoll_registrations_of(socket_->fileno());
  EXPECT_EQ(events.size(), loops_.size());
  for (const uint64_t mask : events) EXPECT_TRUE(mask & kExclusive) << std::hex << mask;
}

TEST_F(SharedListener, OfOneLoopIsWatchedAsAnythingElse) {
  loops_.resize(1);
  accept_on_all(/*exclusive=*/false);
  const std::vector<uint64_t> events = epoll_registrations_of(socket_->fileno());
  ASSERT_EQ(events.size(), 1u);
  EXPECT_FALSE(events[0] & kExclusive) << std::hex << events[0];
}

TEST_F(SharedListener, IsForgottenByEachLoopThatHasHadEnough) {
  accept_on_all(/*exclusive=*/true);
  acceptors_.pop_back();
  EXPECT_EQ(epoll_registrations_of(socket_->fileno()).size(), loops_.size() - 1);
}

}  // namespace
}  // namespace gyre::testing
