// benchmarks/thread_scaling as a user meets it: its table, its files, Ctrl-C; and a workload of
// one's own.

#include <signal.h>
#include <stdlib.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "gyre/tests/integration/process.h"

namespace gyre::testing {
namespace {

using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

std::string program() { return runfile("benchmarks/thread_scaling"); }

std::string read_file(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

// Of milliseconds: a request has to be answered within it, and the sanitizers' programs are slow.
std::string window(int milliseconds) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  milliseconds *= 10;
#endif
  return "--window=" + std::to_string(milliseconds);
}

class ThreadScaling : public ::testing::Test {
 protected:
  ThreadScaling() : folder_(std::string(::getenv("TEST_TMPDIR")) + "/report") {
    std::filesystem::remove_all(folder_);
  }

  std::string output() const { return "--output=" + folder_.string(); }

  const std::filesystem::path folder_;
};

TEST_F(ThreadScaling, MeasuresEveryBackendAndWayToAcceptAndWritesItsFiles) {
  Process run({program(), "--max_loops=2", "--connections=4", "--repetitions=2", "--warm_up=5",
               window(20), output()});
  ASSERT_EQ(run.wait(), 0) << run.err();
  for (const char* accept : {"thread", "reuseport"}) {
    for (const char* loops : {"1", "2"}) {
      EXPECT_THAT(run.out(),
                  ContainsRegex(std::string(loops) + " +select +" + accept + " +[0-9]+"));
    }
  }
  const std::string csv = read_file(folder_ / "thread_scaling.csv");
  EXPECT_THAT(csv, StartsWith("loops,backend,accept,shares_cpus,repetition,requests_per_second,"));
  EXPECT_THAT(csv, ContainsRegex("\n2,select,reuseport,[01],2,[1-9]"));
  const std::string json = read_file(folder_ / "thread_scaling.json");
  EXPECT_THAT(json, HasSubstr("\"machine\": {\"CPU\": "));
  EXPECT_THAT(json, HasSubstr("\"p999_us\": "));
  EXPECT_EQ(std::count(json.begin(), json.end(), '{'), std::count(json.begin(), json.end(), '}'));
}

TEST_F(ThreadScaling, ThePageLoadsNothingFromElsewhere) {
  Process run({program(), "--max_loops=1", "--connections=2", "--repetitions=1", "--warm_up=0",
               window(10), output()});
  ASSERT_EQ(run.wait(), 0) << run.err();
  const std::string page = read_file(folder_ / "thread_scaling.html");
  EXPECT_THAT(page, StartsWith("<!doctype html>"));
  EXPECT_THAT(page, HasSubstr("prefers-color-scheme: dark"));
  EXPECT_THAT(page, ContainsRegex("<svg [^>]*aria-label=\"Throughput\""));
  for (const char* outside : {"http:", "https:", "<script", "@import", "url(h", "src="})
    EXPECT_THAT(page, Not(HasSubstr(outside)));
}

TEST_F(ThreadScaling, InterruptedItEndsWith130AndWritesNothing) {
  Process run({program(), "--max_loops=1", "--repetitions=1000", "--window=1000", output()});
  // The first line on stderr says that the measurement begins.
  while (run.err().find('\n') == std::string::npos) {
    if (run.wait_for_output("never", std::chrono::seconds(1))) break;
  }
  run.signal(SIGINT);
  EXPECT_EQ(run.wait(), 130) << run.err();
  EXPECT_FALSE(std::filesystem::exists(folder_));
}

TEST_F(ThreadScaling, AWrongFlagIsOneLineAndExitCodeTwo) {
  for (const char* flag : {"--backends=poll", "--accept=both", "--repetitions=0", "--window=1",
                           "--connections=100000", "surplus"}) {
    Process run({program(), flag});
    EXPECT_EQ(run.wait(), 2) << flag;
    EXPECT_EQ(std::count(run.err().begin(), run.err().end(), '\n'), 1) << run.err();
  }
}

TEST_F(ThreadScaling, HelpShowsTheDefaultsAndAnExample) {
  Process run({program(), "--help"});
  EXPECT_EQ(run.wait(), 0);
  EXPECT_THAT(run.out(), HasSubstr("example: thread_scaling --max_loops=4 --output=report"));
  EXPECT_THAT(run.out(), HasSubstr("--repetitions=5"));
}

TEST_F(ThreadScaling, AWorkloadOfOnesOwnIsMeasuredAndChecked) {
  Process right({runfile("tests/integration/ping_scaling"), "right", "--max_loops=1",
                 "--repetitions=1", "--warm_up=0", window(10), "--connections=2"});
  EXPECT_EQ(right.wait(), 0) << right.err();
  EXPECT_THAT(right.out(), ContainsRegex("1 +select +thread +[1-9]"));
  Process wrong({runfile("tests/integration/ping_scaling"), "wrong", "--max_loops=1",
                 "--repetitions=1", "--warm_up=0", window(10), "--connections=2"});
  EXPECT_EQ(wrong.wait(), 1);
  EXPECT_THAT(wrong.err(), ContainsRegex("[1-9][0-9]* wrong bytes"));
}

}  // namespace
}  // namespace gyre::testing
