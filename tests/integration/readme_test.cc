// The README's server is compiled and run, so that it cannot rot.

#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <sstream>
#include <string>

#include "gtest/gtest.h"
#include "gyre/net/socket_address.h"
#include "gyre/tests/integration/process.h"

namespace gyre::testing {
namespace {

std::string read_file(const std::string& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

TEST(Readme, ShowsTheServerThatIsCompiledHere) {
  const std::string source = read_file(runfile("examples/readme_server.cc"));
  ASSERT_NE(source, "");
  EXPECT_NE(read_file(runfile("README.md")).find("```cpp\n" + source + "```\n"), std::string::npos)
      << "the C++ block of README.md and examples/readme_server.cc differ";
  EXPECT_LT(std::count(source.begin(), source.end(), '\n'), 20);
}

TEST(Readme, ItsServerAnswers) {
  Process server({runfile("examples/readme_server"), "0"});
  ASSERT_TRUE(server.wait_for_output("OK\n")) << server.err();
  const std::string& line = server.out();  // "port 1234: OK"
  const auto port = static_cast<uint16_t>(std::stoi(line.substr(5)));
  const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
  const absl::StatusOr<SocketAddress> address = SocketAddress::parse("127.0.0.1", port);
  ASSERT_EQ(::connect(fd, address->data(), address->size()), 0);
  const std::string request = "hello\nworld\n", expected = "you said: hello\nyou said: world\n";
  ASSERT_EQ(::send(fd, request.data(), request.size(), 0), static_cast<ssize_t>(request.size()));
  std::string answer(expected.size(), '\0');
  EXPECT_EQ(::recv(fd, answer.data(), answer.size(), MSG_WAITALL),
            static_cast<ssize_t>(expected.size()));
  EXPECT_EQ(answer, expected);
  ::close(fd);
}

}  // namespace
}  // namespace gyre::testing
