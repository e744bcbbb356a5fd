#ifndef GYRE_TESTS_INTEGRATION_ECHO_PROGRAMS_H_
#define GYRE_TESTS_INTEGRATION_ECHO_PROGRAMS_H_

#include <algorithm>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "gyre/tests/integration/process.h"

namespace gyre::testing {

inline std::string echo_server() { return runfile("examples/echo_server"); }
inline std::string tcp_load() { return runfile("benchmarks/tcp_load"); }

// The port of "listening on 127.0.0.1:PORT".
inline std::string port_of(Process& server) {
  EXPECT_TRUE(server.wait_for_output("\n")) << server.err();
  const std::string& line = server.out();
  EXPECT_THAT(line, ::testing::MatchesRegex("listening on 127\\.0\\.0\\.1:[0-9]+\n"));
  return line.substr(line.rfind(':') + 1, line.size() - line.rfind(':') - 2);
}

inline size_t count_lines(const std::string& text) {
  return std::count(text.begin(), text.end(), '\n');
}

}  // namespace gyre::testing

#endif  // GYRE_TESTS_INTEGRATION_ECHO_PROGRAMS_H_
