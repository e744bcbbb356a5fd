// Every example is run, and says what its first lines claim.

#include <signal.h>

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "gyre/tests/integration/connection.h"
#include "gyre/tests/integration/process.h"

namespace gyre::testing {
namespace {

std::string example(const std::string& name) { return runfile("examples/" + name); }

TEST(Examples, HelloTimerTicksUntilItIsDone) {
  Process program({example("hello_timer")});
  EXPECT_EQ(program.wait(), 0) << program.err();
  // On a busy machine a period may be skipped, as PeriodicCallback says.
  EXPECT_THAT(program.out(), ::testing::MatchesRegex("(tick [123]\n)+done after [123] ticks\n"));
}

TEST(Examples, RunBlockingKeepsTheLoopGoing) {
  Process program({example("run_blocking")});
  EXPECT_EQ(program.wait(), 0) << program.err();
  EXPECT_EQ(program.out(), "3 * 3 + 4 * 4 = 25, and the loop's heart went on: yes\n");
}

TEST(Examples, TornadoPortSaysHelloToEachConnection) {
  Process server({example("tornado_port")});
  const uint16_t port = listening_port(server);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(Connection(port).until_end(), "hello from 127.0.0.1\n");
}

TEST(Examples, LineChatTellsEverybodyOnEveryLoop) {
  Process server({example("line_chat"), "--threads=2"});
  const uint16_t port = listening_port(server);
  Connection ada(port);
  EXPECT_EQ(ada.receive(11), "your name? ");
  ada.send("ada\n");
  EXPECT_EQ(ada.line(), "* ada is here\n");
  Connection bob(port);  // round robin: on the other loop
  EXPECT_EQ(bob.receive(11), "your name? ");
  bob.send("bob\n");
  EXPECT_EQ(bob.line(), "* bob is here\n");
  EXPECT_EQ(ada.line(), "* bob is here\n");
  ada.send("hello\n");
  EXPECT_EQ(ada.line(), "ada: hello\n");
  EXPECT_EQ(bob.line(), "ada: hello\n");
  bob.end();
  EXPECT_EQ(ada.line(), "* bob left\n");
  server.signal(SIGTERM);
  EXPECT_EQ(server.wait(), 0) << server.err();
}

TEST(Examples, IdleTimeoutClosesWhoIsSilentAndNobodyElse) {
  Process server({example("idle_timeout"), "--threads=1"});
  const uint16_t port = listening_port(server);
  Connection silent(port);
  silent.send("once");
  EXPECT_EQ(silent.receive(4), "once");
  EXPECT_EQ(silent.until_end(), "you were idle\n");
  server.signal(SIGTERM);
  EXPECT_EQ(server.wait(), 0) << server.err();
}

}  // namespace
}  // namespace gyre::testing
