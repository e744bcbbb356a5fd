// What an idle connection costs in memory, as the kernel counts it.

#include <cstdlib>
#include <string>

#include "gtest/gtest.h"
#include "gyre/tests/integration/process.h"

namespace gyre::testing {
namespace {

TEST(Memory, OfAnIdleConnectionIsAtMost600Bytes) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "sanitizers keep books of their own";
#endif
  Process program({runfile("benchmarks/idle_memory"), "--connections=2000"});
  ASSERT_EQ(program.wait(), 0) << program.err();
  const std::string out = program.out();
  const size_t colon = out.find("connections: ");
  ASSERT_NE(colon, std::string::npos) << out;
  const double bytes = std::atof(out.c_str() + colon + 13);
  RecordProperty("bytes_per_connection", std::to_string(bytes));
  EXPECT_GT(bytes, 100.0);
  EXPECT_LE(bytes, 600.0);
}

}  // namespace
}  // namespace gyre::testing
