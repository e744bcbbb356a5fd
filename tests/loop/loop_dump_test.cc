// What a loop says of itself.

#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <memory>
#include <string>
#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "gyre/loop/awaitables.h"
#include "gyre/loop/fd_description.h"
#include "gyre/loop/io_loop.h"
#include "gyre/loop/task.h"
#include "gyre/loop/unique_fd.h"
#include "gyre/testing/manual_clock.h"
#include "gyre/tests/support/event.h"
#include "gyre/tests/support/loop_fixture.h"

namespace gyre::testing {
namespace {

using internal::describe_fd;
using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

std::string here(int line) { return "loop_dump_test.cc:" + std::to_string(line); }

class LoopDump : public LoopTest {
 protected:
  LoopDump() {
    IOLoopOptions options;
    options.name = "dumped";
    options.clock = &clock_;
    timed_ = make_loop(std::move(options));
    int fds[2];
    EXPECT_EQ(::pipe(fds), 0);
    reader_.reset(fds[0]);
    writer_.reset(fds[1]);
  }

  ManualClock clock_;
  std::unique_ptr<IOLoop> timed_;
  UniqueFd reader_, writer_;
};
GYRE_FOR_EACH_BACKEND(LoopDump);

TEST_P(LoopDump, NamesEveryHandlerTimeoutAndCallback) {
  const int line = __LINE__;
  timed_
      ->add_handler(
          reader_.get(), [](int, uint32_t) {}, IOLoop::READ)
      .IgnoreError();
  clock_.advance(seconds(3));
  timed_->call_later(milliseconds(1500), [] {});
  timed_->call_later(milliseconds(-500), [] {});
  for (int i = 0; i < 3; ++i) timed_->add_callback([] {});
  timed_->add_callback([](int) {}, 7);
  const std::string text = timed_->dump();
  EXPECT_THAT(text, HasSubstr("loop \"dumped\", " + std::string(to_string(GetParam()))));
  EXPECT_THAT(text, HasSubstr("has 1 handler, 2 timeouts, 4 callbacks\n"));
  EXPECT_THAT(text, HasSubstr("fd " + std::to_string(reader_.get()) + ", pipe: READ, for 3."));
  EXPECT_THAT(text, HasSubstr("timeout, due in 1.500 s, set at tests/loop/" + here(line + 6)));
  EXPECT_THAT(text, HasSubstr("timeout, due in -0.500 s, set at tests/loop/" + here(line + 7)));
  EXPECT_THAT(text, HasSubstr("  3 callbacks, posted at tests/loop/" + here(line + 8) + "\n"));
  EXPECT_THAT(text, HasSubstr("  1 callback, posted at unknown\n")) << "the form with arguments";
}

TEST_P(LoopDump, SaysWhatKeepsALoopFromEnding) {
  EXPECT_THAT(timed_->dump(), HasSubstr("does not run; has 0 handlers"));
  std::string running, stopping;
  loop_->add_callback([&] {
    running = loop_->dump();
    loop_->stop();
    stopping = loop_->dump();
  });
  run();
  EXPECT_THAT(running, HasSubstr("runs until stop() is called; has 0 handlers"));
  EXPECT_THAT(stopping, HasSubstr("stop() was called, it ends with this iteration"));
}

TEST_P(LoopDump, ALoopThatIsClosedSaysThatAlone) {
  ASSERT_TRUE(timed_->close().ok());
  EXPECT_EQ(timed_->dump(), "loop \"dumped\" is closed\n");
  EXPECT_EQ(timed_->activity(), "loop \"dumped\" is closed");
}

TEST_P(LoopDump, ChangesNothingOfTheOrderInWhichCallbacksRun) {
  std::string order;
  loop_->add_callback([&] {
    order += "a";
    loop_->add_callback([&] { order += "c"; });
    std::thread([&] { loop_->add_callback([&] { order += "d"; }); }).join();
    static_cast<void>(loop_->dump());
    loop_->add_callback([&] {
      order += "e";
      loop_->stop();
    });
  });
  loop_->add_callback([&] { order += "b"; });
  run();
  EXPECT_EQ(order, "abcde");
}

TEST_P(LoopDump, CountsCoroutinesAndNamesThoseThatWaitForAnFd) {
  loop_->spawn_callback([&]() -> Task<void> {
    (co_await readable(reader_.get())).IgnoreError();
    loop_->stop();
  });
  loop_->spawn_callback([&]() -> Task<void> { co_await sleep_for(seconds(3600)); });
  std::string text;
  loop_->add_callback([&] {
    text = loop_->dump();
    EXPECT_EQ(::write(writer_.get(), "x", 1), 1);
  });
  run();
  EXPECT_THAT(text, HasSubstr("coroutines: 2 chains not ended"));
  EXPECT_THAT(text, HasSubstr("awaited by a reading coroutine"));
}

// ---- From another thread

TEST_P(LoopDump, ActivityNamesTheCallThatALoopIsStuckIn) {
  Event inside, go_on;
  LoopInThread thread(*loop_);
  const auto stuck = [&] {
    inside.set();
    EXPECT_TRUE(go_on.wait());
  };
  const int line = __LINE__ + 1;
  loop_->add_callback(stuck);
  ASSERT_TRUE(inside.wait());
  EXPECT_THAT(loop_->activity(),
              AllOf(HasSubstr("has not been in its poller for "),
                    HasSubstr("a callback, posted at tests/loop/" + here(line))));
  go_on.set();
}

TEST_P(LoopDump, ActivityNamesTheFdOfAHandlerThatIsStuck) {
  Event inside, go_on;
  ASSERT_TRUE(loop_
                  ->add_handler(
                      reader_.get(),
                      [&](int fd, uint32_t) {
                        inside.set();
                        EXPECT_TRUE(go_on.wait());
                        loop_->remove_handler(fd).IgnoreError();
                      },
                      IOLoop::READ)
                  .ok());
  ASSERT_EQ(::write(writer_.get(), "x", 1), 1);
  LoopInThread thread(*loop_);
  ASSERT_TRUE(inside.wait());
  EXPECT_THAT(loop_->activity(),
              HasSubstr("the handler of fd " + std::to_string(reader_.get()) + " (pipe)"));
  go_on.set();
}

TEST_P(LoopDump, ActivityNamesATimeoutThatIsStuck) {
  Event inside, go_on;
  const auto stuck = [&] {
    inside.set();
    EXPECT_TRUE(go_on.wait());
  };
  const int line = __LINE__ + 1;
  loop_->call_later(milliseconds(0), stuck);
  LoopInThread thread(*loop_);
  ASSERT_TRUE(inside.wait());
  EXPECT_THAT(loop_->activity(), HasSubstr("a timeout, set at tests/loop/" + here(line)));
  go_on.set();
}

TEST_P(LoopDump, ActivityOfALoopThatNobodyRuns) {
  EXPECT_EQ(timed_->activity(), "loop \"dumped\" does not run");
}

// ---- Files

TEST(DescribeFd, SaysWhatKindOfFileItIs) {
  int fds[2];
  ASSERT_EQ(::pipe(fds), 0);
  const UniqueFd reader(fds[0]);
  UniqueFd writer(fds[1]);
  EXPECT_EQ(describe_fd(reader.get()), "pipe");
  const int number = writer.get();
  writer.reset();
  EXPECT_EQ(describe_fd(number), "closed");
  EXPECT_EQ(describe_fd(-1), "closed");
}

TEST(DescribeFd, NamesBothEndsOfASocket) {
  int fds[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
  const UniqueFd one(fds[0]), other(fds[1]);
  EXPECT_THAT(describe_fd(one.get()), AllOf(HasSubstr("socket unix:"), HasSubstr(", peer unix:"),
                                            Not(HasSubstr("listening"))));
}

}  // namespace
}  // namespace gyre::testing
