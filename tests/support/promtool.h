#ifndef GYRE_TESTS_SUPPORT_PROMTOOL_H_
#define GYRE_TESTS_SUPPORT_PROMTOOL_H_

#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <string>

#include "gyre/tests/integration/process.h"

namespace gyre::testing {

inline constexpr const char* kPromtool = "/usr/bin/promtool";

// Of Debian's package prometheus.
inline bool have_promtool() { return ::access(kPromtool, X_OK) == 0; }

// What `promtool check metrics` has against a page; "" if nothing.
inline std::string promtool_complaints(const std::string& page) {
  const std::string path = std::string(::getenv("TEST_TMPDIR")) + "/page";
  std::ofstream(path) << page;
  Process check({"/bin/sh", "-c", "\"$0\" check metrics <\"$1\"", kPromtool, path});
  const int code = check.wait();
  return code == 0 ? "" : "exit code " + std::to_string(code) + ": " + check.err() + check.out();
}

}  // namespace gyre::testing

#endif  // GYRE_TESTS_SUPPORT_PROMTOOL_H_
