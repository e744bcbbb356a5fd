// The errors of the first hour, brought about as a new user does: each message says what to do, and
// is what docs/errors.md has.

#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "gyre/net/listen_socket.h"
#include "gyre/net/socket_address.h"
#include "gyre/tests/integration/process.h"
#include "gyre/tests/support/temp_folder.h"

namespace gyre::testing {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::StartsWith;

// What a program says that cannot start: one line.
std::string complaint_of(const std::vector<std::string>& command) {
  Process program(command);
  EXPECT_EQ(program.wait(), 2) << command.back();
  EXPECT_EQ(program.out(), "");
  EXPECT_EQ(program.err().find('\n'), program.err().size() - 1) << program.err();
  return program.err();
}

std::string echo_server() { return runfile("examples/echo_server"); }

// Under a limit of the shell, or as another user.
std::vector<std::string> shell(const std::string& script) {
  return {"/bin/sh", "-c", script, echo_server()};
}

TEST(FirstHour, APortInUseSaysHowToFindWhoHasIt) {
  const ListenSocket taken = ListenSocket::bind(*SocketAddress::parse("127.0.0.1", 0)).value();
  const std::string port = "--port=" + std::to_string(taken.address().port());
  EXPECT_THAT(complaint_of({echo_server(), port}), HasSubstr("another socket has the port (ss -l"));
  EXPECT_THAT(complaint_of({runfile("examples/graceful_shutdown"), port}),
              HasSubstr("choose another port"));
}

TEST(FirstHour, ADatagramPortInUseSaysSoAsWell) {
  const int fd = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  const SocketAddress any = SocketAddress::parse("127.0.0.1", 0).value();
  ASSERT_EQ(::bind(fd, any.data(), any.size()), 0);
  const uint16_t port = SocketAddress::local_of(fd)->port();
  EXPECT_THAT(complaint_of({runfile("examples/udp_echo"), "--port=" + std::to_string(port)}),
              HasSubstr("another socket has the port (ss -l"));
  ::close(fd);
}

TEST(FirstHour, AnAddressOfAnotherMachineSaysWhichThereAre) {
  EXPECT_THAT(complaint_of({echo_server(), "--host=192.0.2.1"}),
              HasSubstr("no interface of this machine has that address (ip addr lists them)"));
  EXPECT_THAT(complaint_of({runfile("examples/udp_echo"), "--host=192.0.2.1"}),
              HasSubstr("no interface of this machine has that address"));
}

TEST(FirstHour, AHostThatNobodyKnowsIsNamed) {
  const std::string said = complaint_of({echo_server(), "--host=no-such-host.invalid"});
  EXPECT_THAT(said, HasSubstr("host \"no-such-host.invalid\": "));
  EXPECT_THAT(said, HasSubstr("check how it is spelled, or give its address in numbers"));
}

TEST(FirstHour, ALimitOnFilesThatIsTooLowSaysWhichOne) {
  EXPECT_THAT(complaint_of(shell("ulimit -n 10; exec \"$0\" --threads=4")),
              HasSubstr("Too many open files; the process has reached its limit: raise it (ulimit "
                        "-n), or open fewer"));
}

TEST(FirstHour, ABackendThatIsUnknownOrMissingSaysWhichThereAre) {
  EXPECT_THAT(complaint_of({echo_server(), "--backend=iocp"}),
              HasSubstr("--backend: unknown backend \"iocp\": epoll, kqueue, select"));
  EXPECT_THAT(complaint_of(shell("GYRE_BACKEND=iocp exec \"$0\"")),
              HasSubstr("GYRE_BACKEND: unknown backend \"iocp\": epoll, kqueue, select"));
#if defined(__linux__)
  EXPECT_THAT(complaint_of({echo_server(), "--backend=kqueue"}),
              EndsWith("is not compiled in on this platform; these are: epoll, select\n"));
#endif
}

TEST(FirstHour, AUnixSocketInAFolderThatIsNotThereSaysSo) {
  EXPECT_THAT(complaint_of({echo_server(), "--host=unix:/no/such/folder/socket"}),
              HasSubstr("the folder of the socket has to exist"));
  EXPECT_THAT(complaint_of({echo_server(), "--host=unix:" + std::string(200, 'x')}),
              HasSubstr("the path has 200 bytes, and 107 is the most"));
}

TEST(FirstHour, AnUnknownFlagIsNamedAndHelpIs) {
  const std::string said = complaint_of({echo_server(), "--treads=4"});
  EXPECT_THAT(said, StartsWith("echo_server: "));
  EXPECT_THAT(complaint_of({echo_server(), "--prot=80"}), HasSubstr("--help lists them"));
}

// Root may do too much: a copy is run as nobody, who may not read the folder of the original. Any
// other user may as little.
class AsNobody : public ::testing::Test {
 protected:
  void SetUp() override {
    // A container may map no user but root (user_namespaces(7)): there nobody is without rights.
    Process nobody({"/bin/sh", "-c", as_nobody_ + "/bin/true"});
    if (nobody.wait() != 0) GTEST_SKIP() << "cannot become nobody: " << nobody.err();
    Process copy({"/bin/sh", "-c", "cp -L \"$0\" \"$1\" && chmod 755 \"$1\" \"$1\"/echo_server",
                  echo_server(), folder_.path()});
    ASSERT_EQ(copy.wait(), 0) << copy.err();
  }
  std::string complaint(const std::string& limits, const std::string& flags) {
    return complaint_of(
        {"/bin/sh", "-c",
         as_nobody_ + "/bin/bash -c '" + limits + " exec \"$0\" " + flags + "' \"$0\"",
         folder_.file("echo_server")});
  }

  // The number rather than the name: not every container has the name.
  const std::string as_nobody_ =
      ::getuid() == 0 ? "exec setpriv --reuid=65534 --regid=65534 --clear-groups " : "exec ";
  TempFolder folder_;
};

TEST_F(AsNobody, APrivilegedPortSaysWhatItNeeds) {
  int first = 0;
  std::ifstream("/proc/sys/net/ipv4/ip_unprivileged_port_start") >> first;
  if (first <= 80) GTEST_SKIP() << "port 80 is everybody's here";
  EXPECT_THAT(complaint("", "--port=80"),
              HasSubstr("need CAP_NET_BIND_SERVICE: choose a higher one, or grant it"));
}

TEST_F(AsNobody, AFolderThatIsNotOnesOwnSaysSo) {
  ASSERT_EQ(::chmod(folder_.path().c_str(), 0555), 0);
  EXPECT_THAT(complaint("", "--host=unix:" + folder_.file("socket")),
              HasSubstr("this user may not write to the folder of the socket"));
}

TEST_F(AsNobody, TooManyThreadsSayWhichLimitItIs) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "a sanitizer ends a program that has no thread of its own";
#endif
  EXPECT_THAT(complaint("ulimit -u 20;", "--threads=200"),
              HasSubstr("ask for fewer, or raise the limit (ulimit -u"));
}

}  // namespace
}  // namespace gyre::testing
