// Unix sockets: addresses with a file or without, credentials, and fds that are passed.

#include "gyre/net/unix_socket.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "gyre/net/io_stream.h"
#include "gyre/net/listen_socket.h"
#include "gyre/net/socket_address.h"
#include "gyre/tests/net/stream_fixture.h"
#include "gyre/tests/support/sockets.h"
#include "gyre/tests/support/temp_folder.h"

namespace gyre::testing {
namespace {

using absl::StatusCode;
using ::testing::HasSubstr;

class Directory : public TempFolder {
 public:
  SocketAddress address() const {
    return SocketAddress::parse("unix:" + file("socket"), 0).value();
  }
};

bool exists(const std::string& path) {
  struct stat file {};
  return ::lstat(path.c_str(), &file) == 0;
}

// ---- Listening

TEST(UnixListenSocket, ItsFileIsForItsOwnerAndGoesWithIt) {
  const Directory directory;
  absl::StatusOr<ListenSocket> socket = ListenSocket::bind(directory.address());
  ASSERT_TRUE(socket.ok()) << socket.status();
  EXPECT_EQ(socket->address(), directory.address());
  struct stat file {};
  ASSERT_EQ(::lstat(directory.file("socket").c_str(), &file), 0);
  EXPECT_TRUE(S_ISSOCK(file.st_mode));
  EXPECT_EQ(file.st_mode & 0777, 0600u);
  socket->close();
  EXPECT_FALSE(exists(directory.file("socket")));
}

TEST(UnixListenSocket, ItsModeIsTheOptions) {
  const Directory directory;
  ListenOptions options;
  options.unix_mode = 0666;
  const absl::StatusOr<ListenSocket> socket = ListenSocket::bind(directory.address(), options);
  ASSERT_TRUE(socket.ok()) << socket.status();
  struct stat file {};
  ASSERT_EQ(::lstat(directory.file("socket").c_str(), &file), 0);
  EXPECT_EQ(file.st_mode & 0777, 0666u);
}

TEST(UnixListenSocket, AStaleFileIsReplaced) {
  const Directory directory;
  {
    // Closed without being removed, as by a process that was killed.
    const UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM, 0));
    const SocketAddress address = directory.address();
    ASSERT_EQ(::bind(fd.get(), address.data(), address.size()), 0);
  }
  ASSERT_TRUE(exists(directory.file("socket")));
  const absl::StatusOr<ListenSocket> socket = ListenSocket::bind(directory.address());
  EXPECT_TRUE(socket.ok()) << socket.status();
}

TEST(UnixListenSocket, AFileThatSomebodyListensOnIsLeftAlone) {
  const Directory directory;
  const absl::StatusOr<ListenSocket> first = ListenSocket::bind(directory.address());
  ASSERT_TRUE(first.ok()) << first.status();
  const absl::Status status = ListenSocket::bind(directory.address()).status();
  EXPECT_EQ(status.code(), StatusCode::kAlreadyExists) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr(directory.address().to_string()));
  EXPECT_TRUE(exists(directory.file("socket")));
}

TEST(UnixListenSocket, AFileThatIsNoSocketIsLeftAlone) {
  const Directory directory;
  const UniqueFd file(::open(directory.file("socket").c_str(), O_CREAT | O_WRONLY, 0600));
  const absl::Status status = ListenSocket::bind(directory.address()).status();
  EXPECT_EQ(status.code(), StatusCode::kAlreadyExists) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("no socket"));
  EXPECT_TRUE(exists(directory.file("socket")));
}

TEST(UnixListenSocket, AFileThatAnotherTookItsPlaceWithIsLeftAlone) {
  const Directory directory;
  absl::StatusOr<ListenSocket> first = ListenSocket::bind(directory.address());
  ASSERT_TRUE(first.ok()) << first.status();
  ::unlink(directory.file("socket").c_str());
  absl::StatusOr<ListenSocket> second = ListenSocket::bind(directory.address());
  ASSERT_TRUE(second.ok()) << second.status();
  first->close();
  EXPECT_TRUE(exists(directory.file("socket")));
}

TEST(UnixListenSocket, AMovedOneKeepsItsFile) {
  const Directory directory;
  auto socket = std::make_unique<ListenSocket>(ListenSocket::bind(directory.address()).value());
  ListenSocket other = std::move(*socket);
  socket.reset();
  EXPECT_TRUE(exists(directory.file("socket")));
}

TEST(UnixListenSocket, BadPathsAreErrorsThatNameThem) {
  for (const char* path : {"unix:/nonexistent/directory/socket", "unix:/proc/socket"}) {
    const absl::Status status = ListenSocket::bind(*SocketAddress::parse(path, 0)).status();
    EXPECT_FALSE(status.ok());
    EXPECT_THAT(std::string(status.message()), HasSubstr(path));
  }
}

TEST(UnixListenSocket, SeveralOnOneAddressAreRefused) {
  ListenOptions options;
  options.reuse_port = true;
  const absl::Status status =
      ListenSocket::bind(*SocketAddress::parse("unix:@gyre-test-reuse", 0), options).status();
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument) << status;
}

// ---- Streams

class UnixStream : public StreamTest {
 protected:
  void exchanges_bytes(const SocketAddress& address) {
    const absl::StatusOr<ListenSocket> listener = ListenSocket::bind(address);
    ASSERT_TRUE(listener.ok()) << listener.status();
    std::shared_ptr<IOStream> stream;
    IOStream::connect(*loop_, listener->address(),
                      [&](absl::StatusOr<std::shared_ptr<IOStream>> s) {
                        ASSERT_TRUE(s.ok()) << s.status();
                        stream = *std::move(s);
                      });
    run_until([&] { return stream != nullptr; });
    const UniqueFd peer(::accept(listener->fileno(), nullptr, nullptr));
    ASSERT_TRUE(peer);
    make_nonblocking(peer.get());
    EXPECT_EQ(stream->peer_address().value(), address);
    stream->write("ping");
    EXPECT_EQ(receive(peer, 4), "ping");
    EXPECT_EQ(peer_credentials(stream->fileno())->uid, ::getuid());
    stream->close();
  }
};
GYRE_FOR_EACH_BACKEND(UnixStream);

TEST_P(UnixStream, ConnectsToAPath) {
  const Directory directory;
  exchanges_bytes(directory.address());
}

TEST_P(UnixStream, ConnectsToAnAbstractName) {
  exchanges_bytes(SocketAddress::parse("unix:@gyre-test-" + std::to_string(::getpid()), 0).value());
}

TEST_P(UnixStream, NobodyListeningIsAnErrorThatNamesThePath) {
  absl::Status status;
  IOStream::connect(*loop_, *SocketAddress::parse("unix:/nonexistent/socket", 0),
                    [&](absl::StatusOr<std::shared_ptr<IOStream>> s) { status = s.status(); });
  run_until([&] { return !status.ok(); });
  EXPECT_EQ(status.code(), StatusCode::kNotFound) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("unix:/nonexistent/socket"));
}

// ---- Credentials

TEST(PeerCredentials, AreThoseOfTheOtherProcess) {
  const FdPair pair = socket_pair();
  const absl::StatusOr<PeerCredentials> credentials = peer_credentials(pair.a.get());
  ASSERT_TRUE(credentials.ok()) << credentials.status();
  EXPECT_EQ(credentials->uid, ::getuid());
  EXPECT_EQ(credentials->gid, ::getgid());
  EXPECT_EQ(credentials->pid.value_or(::getpid()), ::getpid());
}

TEST(PeerCredentials, OfWhatIsNoConnectedUnixSocketIsAnErrorThatNamesTheFd) {
  const FdPair tcp = tcp_pair();
  const UniqueFd unconnected(::socket(AF_UNIX, SOCK_STREAM, 0));
  for (const int fd : {tcp.a.get(), unconnected.get(), closed_fd()}) {
    const absl::Status status = peer_credentials(fd).status();
    EXPECT_FALSE(status.ok());
    EXPECT_THAT(std::string(status.message()), HasSubstr("fd " + std::to_string(fd)));
  }
}

// ---- Passing fds

TEST(PassedFds, AreCopiesThatWorkAndAreClosedOnExec) {
  const FdPair pair = socket_pair(), passed = pipe_pair();
  const int fds[] = {passed.a.get(), passed.b.get()};
  ASSERT_EQ(send_fds(pair.a.get(), fds, "two").value(), 3u);
  absl::StatusOr<ReceivedFds> received = receive_fds(pair.b.get(), 2);
  ASSERT_TRUE(received.ok()) << received.status();
  EXPECT_EQ(received->bytes, "two");
  ASSERT_EQ(received->fds.size(), 2u);
  write_all(received->fds[1].get(), "through the copy");
  EXPECT_EQ(read_available(passed.a.get()), "through the copy");
  for (const UniqueFd& fd : received->fds) {
    EXPECT_NE(::fcntl(fd.get(), F_GETFD) & FD_CLOEXEC, 0);
  }
}

TEST(PassedFds, AsManyAsTheKernelTakesCome) {
  const FdPair pair = socket_pair();
  const std::vector<int> fds(kMaxPassedFds, pair.a.get());
  ASSERT_TRUE(send_fds(pair.a.get(), fds, "x").ok());
  const absl::StatusOr<ReceivedFds> received = receive_fds(pair.b.get(), kMaxPassedFds);
  ASSERT_TRUE(received.ok()) << received.status();
  EXPECT_EQ(received->fds.size(), kMaxPassedFds);
}

TEST(PassedFds, MoreThanAskedForAreAllClosed) {
  const FdPair pair = socket_pair();
  for (const size_t sent : {2u, 3u, 10u}) {
    const std::vector<int> fds(sent, pair.a.get());
    ASSERT_TRUE(send_fds(pair.a.get(), fds, "x").ok());
    const int before = count_open_fds();
    const absl::Status status = receive_fds(pair.b.get(), 1).status();
    EXPECT_EQ(status.code(), StatusCode::kResourceExhausted) << status;
    EXPECT_EQ(count_open_fds(), before) << sent;
  }
}

TEST(PassedFds, WithoutRoomForThemInTheProcessAreAllClosed) {
  const FdPair pair = socket_pair();
  const std::vector<int> fds(8, pair.a.get());
  ASSERT_TRUE(send_fds(pair.a.get(), fds, "x").ok());
  const int before = count_open_fds();
  rlimit limit{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &limit), 0);
  rlimit low = limit;
  low.rlim_cur = before + 2;
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &low), 0);
  const absl::Status status = receive_fds(pair.b.get(), 8).status();
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &limit), 0);
  EXPECT_EQ(status.code(), StatusCode::kResourceExhausted) << status;
  EXPECT_EQ(count_open_fds(), before);
}

TEST(PassedFds, PlainBytesComeWithoutAny) {
  const FdPair pair = socket_pair();
  write_all(pair.a.get(), "plain");
  const absl::StatusOr<ReceivedFds> received = receive_fds(pair.b.get(), 4);
  ASSERT_TRUE(received.ok()) << received.status();
  EXPECT_EQ(received->bytes, "plain");
  EXPECT_TRUE(received->fds.empty());
}

TEST(PassedFds, TheEndIsNoBytesAndNothingYetIsUnavailable) {
  FdPair pair = socket_pair();
  EXPECT_EQ(receive_fds(pair.b.get(), 1).status().code(), StatusCode::kUnavailable);
  pair.a.reset();
  EXPECT_EQ(receive_fds(pair.b.get(), 1)->bytes, "");
}

TEST(PassedFds, BadArgumentsAreErrorsThatNameThem) {
  const FdPair pair = socket_pair();
  const std::vector<int> too_many(kMaxPassedFds + 1, pair.a.get());
  const int closed[] = {closed_fd()};
  const std::pair<absl::Status, std::string> kCases[] = {
      {send_fds(pair.a.get(), {}, "").status(), "without a byte"},
      {send_fds(pair.a.get(), too_many, "x").status(), "254"},
      {send_fds(pair.a.get(), closed, "x").status(), "fd " + std::to_string(closed[0])},
      {receive_fds(pair.a.get(), kMaxPassedFds + 1).status(), "254"},
      {receive_fds(pair.a.get(), 1, 0).status(), "0 bytes"},
  };
  for (const auto& [status, text] : kCases) {
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(text));
  }
  EXPECT_FALSE(send_fds(closed_fd(), {}, "x").ok());
}

TEST(PassedFds, AFullSocketIsUnavailable) {
  const FdPair pair = socket_pair();
  fill(pair.a.get());
  const int fds[] = {pair.a.get()};
  EXPECT_EQ(send_fds(pair.a.get(), fds, "x").status().code(), StatusCode::kUnavailable);
}

class PassedFdsOnALoop : public StreamTest {};
GYRE_FOR_EACH_BACKEND(PassedFdsOnALoop);

TEST_P(PassedFdsOnALoop, TheReceiverWaitsForThem) {
  const FdPair pair = socket_pair(), passed = pipe_pair();
  const int fds[] = {passed.b.get()};
  std::string through;
  const auto receiver = [&]() -> Task<void> {
    absl::StatusOr<ReceivedFds> received = co_await async_receive_fds(pair.b.get(), 1);
    EXPECT_TRUE(received.ok()) << received.status();
    write_all(received->fds.at(0).get(), received->bytes);
    through = read_available(passed.a.get());
  };
  run_task([&]() -> Task<void> {
    loop_->spawn_callback([&]() -> Task<void> {
      const absl::Status status = co_await async_send_fds(pair.a.get(), fds, "hello");
      EXPECT_TRUE(status.ok()) << status;
    });
    co_await receiver();
  });
  EXPECT_EQ(through, "hello");
}

TEST_P(PassedFdsOnALoop, TheSenderWaitsForRoom) {
  const FdPair pair = socket_pair();
  fill(pair.a.get());
  const int fds[] = {pair.a.get()};
  bool sent = false;
  loop_->spawn_callback([&]() -> Task<void> {
    const absl::Status status = co_await async_send_fds(pair.a.get(), fds, "late");
    EXPECT_TRUE(status.ok()) << status;
    sent = true;
  });
  run_turns(3);
  EXPECT_FALSE(sent);
  size_t received = 0;
  run_until([&] {
    absl::StatusOr<ReceivedFds> some = receive_fds(pair.b.get(), 1, 64 * 1024);
    if (some.ok()) received += some->fds.size();
    return received > 0;
  });
  run_until([&] { return sent; });
}

}  // namespace
}  // namespace gyre::testing
