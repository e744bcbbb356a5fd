// The conformance of every backend: what the handlers of fds are told.

#include <sys/resource.h>
#include <sys/socket.h>

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "gyre/loop/io_loop.h"
#include "gyre/tests/loop/io_loop_handlers_fixture.h"
#include "gyre/tests/support/sockets.h"

namespace gyre::testing {
namespace {

using ::testing::AnyOf;
using ::testing::Each;
using ::testing::IsEmpty;

constexpr uint32_t NONE = IOLoop::NONE;
constexpr uint32_t READ = IOLoop::READ;
constexpr uint32_t WRITE = IOLoop::WRITE;
constexpr uint32_t ERROR = IOLoop::ERROR;

TEST_P(IOLoopHandlers, AreLevelTriggered) {
  FdPair pair = socket_pair();
  write_all(pair.b.get(), "abc");
  std::string got;
  ASSERT_TRUE(loop_
                  ->add_handler(
                      pair.a.get(),
                      [&](int fd, uint32_t events) {
                        EXPECT_EQ(events, READ);
                        char c;
                        ASSERT_EQ(::read(fd, &c, 1), 1);
                        got += c;
                        if (got.size() == 3) loop_->stop();
                      },
                      READ)
                  .ok());
  run();
  EXPECT_EQ(got, "abc");
  EXPECT_LT(iterations_at_rest(), 10u);
}

TEST_P(IOLoopHandlers, GetReadAndWriteTogetherInOneCall) {
  for (FdPair (*make)() : {socket_pair, tcp_pair}) {
    FdPair pair = make();
    write_all(pair.b.get(), "x");
    watch(pair.a.get(), READ | WRITE);
    run_until([&] {
      return !events_[pair.a.get()].empty() && events_[pair.a.get()].back() == (READ | WRITE);
    });
    events_.clear();
    run_turns(1);
    EXPECT_EQ(only_call(pair.a.get()), READ | WRITE);
    ASSERT_TRUE(loop_->remove_handler(pair.a.get()).ok());
  }
}

TEST_P(IOLoopHandlers, GetOnlyWhatIsReady) {
  FdPair pair = socket_pair();
  watch(pair.a.get(), READ | WRITE);
  run_turns(1);
  EXPECT_EQ(only_call(pair.a.get()), WRITE);
  fill(pair.a.get());
  write_all(pair.b.get(), "x");
  run_turns(1);
  EXPECT_EQ(only_call(pair.a.get()), READ);
}

TEST_P(IOLoopHandlers, GetOnlyWhatTheyAskedFor) {
  FdPair pair = socket_pair();
  write_all(pair.b.get(), "x");
  watch(pair.a.get(), READ);
  run_turns(1);
  EXPECT_EQ(only_call(pair.a.get()), READ) << "it is writable, too";
  ASSERT_TRUE(loop_->update_handler(pair.a.get(), WRITE).ok());
  run_turns(1);
  EXPECT_EQ(only_call(pair.a.get()), WRITE) << "it is readable, too";
  ASSERT_TRUE(loop_->update_handler(pair.a.get(), NONE).ok());
  run_turns(2);
  EXPECT_THAT(events_[pair.a.get()], IsEmpty());
  ASSERT_TRUE(loop_->update_handler(pair.a.get(), READ).ok());
  run_turns(1);
  EXPECT_EQ(only_call(pair.a.get()), READ) << "after a time without interest";
}

TEST_P(IOLoopHandlers, BothDirectionsOfADuplexChannelAreIndependent) {
  FdPair pair = socket_pair();
  watch(pair.a.get(), READ);
  watch(pair.b.get(), WRITE);
  run_turns(1);
  EXPECT_THAT(events_[pair.a.get()], IsEmpty());
  EXPECT_EQ(only_call(pair.b.get()), WRITE);
  write_all(pair.b.get(), "x");
  ASSERT_TRUE(loop_->update_handler(pair.b.get(), READ).ok());
  run_turns(1);
  EXPECT_EQ(only_call(pair.a.get()), READ);
  EXPECT_THAT(events_[pair.b.get()], IsEmpty());
}

TEST_P(IOLoopHandlers, AHalfClosedPeerIsReadAndNoError) {
  for (FdPair (*make)() : {socket_pair, tcp_pair}) {
    FdPair pair = make();
    ASSERT_EQ(::shutdown(pair.b.get(), SHUT_WR), 0);
    watch(pair.a.get(), READ);
    run_until([&] { return !events_[pair.a.get()].empty(); });
    EXPECT_THAT(events_[pair.a.get()], Each(READ));
    EXPECT_EQ(read_available(pair.a.get()), "");
    write_all(pair.a.get(), "the other direction is open");
    ASSERT_TRUE(loop_->update_handler(pair.a.get(), READ | WRITE).ok());
    events_.clear();
    run_turns(1);
    EXPECT_EQ(only_call(pair.a.get()), READ | WRITE);
    ASSERT_TRUE(loop_->remove_handler(pair.a.get()).ok());
    events_.clear();
  }
}

TEST_P(IOLoopHandlers, AReaderOfAClosedPeerIsToldOfTheEnd) {
  for (FdPair (*make)() : {socket_pair, tcp_pair, pipe_pair}) {
    FdPair pair = make();
    write_all(pair.b.get(), "last words");
    pair.b.reset();
    watch(pair.a.get(), READ);
    run_until([&] { return !events_[pair.a.get()].empty(); });
    EXPECT_THAT(events_[pair.a.get()], Each(AnyOf(READ, READ | ERROR)))
        << "within the interest, plus ERROR";
    EXPECT_EQ(read_available(pair.a.get()), "last words") << "what was sent before is not lost";
    events_.clear();
    run_turns(1);
    EXPECT_THAT(only_call(pair.a.get()), AnyOf(READ, READ | ERROR));
    ASSERT_TRUE(loop_->remove_handler(pair.a.get()).ok());
    events_.clear();
  }
}

TEST_P(IOLoopHandlers, AResetIsAnError) {
  FdPair pair = tcp_pair();
  linger reset{1, 0};
  ASSERT_EQ(::setsockopt(pair.b.get(), SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)), 0);
  pair.b.reset();
  watch(pair.a.get(), READ);
  run_until([&] { return !events_[pair.a.get()].empty(); });
  EXPECT_THAT(events_[pair.a.get()], Each(READ | ERROR));
}

TEST_P(IOLoopHandlers, AWriterToAClosedPipeIsToldOfTheError) {
  FdPair pipe = pipe_pair();
  fill(pipe.b.get());
  watch(pipe.b.get(), WRITE);
  run_turns(2);
  EXPECT_THAT(events_[pipe.b.get()], IsEmpty());
  pipe.a.reset();
  run_turns(1);
  EXPECT_EQ(only_call(pipe.b.get()), WRITE | ERROR);
}

TEST_P(IOLoopHandlers, WithoutInterestAHangUpDoesNotSpin) {
  for (FdPair (*make)() : {socket_pair, tcp_pair, pipe_pair}) {
    FdPair pair = make();
    watch(pair.a.get(), NONE);
    write_all(pair.b.get(), "x");
    EXPECT_LT(iterations_at_rest(), 10u);
    EXPECT_THAT(events_[pair.a.get()], IsEmpty());
    pair.b.reset();
    EXPECT_LT(iterations_at_rest(), 10u);
    EXPECT_LE(events_[pair.a.get()].size(), 1u);
    EXPECT_THAT(events_[pair.a.get()], Each(ERROR));
    ASSERT_TRUE(loop_->update_handler(pair.a.get(), READ).ok());
    events_.clear();
    run_turns(1);
    EXPECT_NE(only_call(pair.a.get()) & READ, 0u);
    ASSERT_TRUE(loop_->remove_handler(pair.a.get()).ok());
    events_.clear();
  }
}

TEST_P(IOLoopHandlers, UrgentDataDoesNotSpin) {
  FdPair pair = tcp_pair();
  watch(pair.a.get(), READ);
  ASSERT_EQ(::send(pair.b.get(), "!", 1, MSG_OOB), 1);
  EXPECT_LT(iterations_at_rest(), 20u);
}

TEST_P(IOLoopHandlers, MoreReadyFdsThanOneWaitHoldsAllHaveTheirTurn) {
  // Guards the fds behind a full batch of events against starvation.
  constexpr int kFds = 700;
  rlimit limit{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
  if (limit.rlim_cur < kFds + 100)
    GTEST_SKIP() << "only " << limit.rlim_cur << " fds are allowed here";
  FdPair pair = socket_pair();
  write_all(pair.b.get(), "x");
  std::vector<UniqueFd> copies;
  for (int i = 0; i < kFds; ++i) {
    copies.emplace_back(::dup(pair.a.get()));
    watch(copies.back().get(), READ);
  }
  run_turns(10);
  size_t least = SIZE_MAX, most = 0;
  for (const UniqueFd& copy : copies) {
    least = std::min(least, events_[copy.get()].size());
    most = std::max(most, events_[copy.get()].size());
  }
  EXPECT_GE(least, 3u);
  EXPECT_LE(most, 10u);
  for (const UniqueFd& copy : copies) EXPECT_TRUE(loop_->remove_handler(copy.get()).ok());
}

}  // namespace
}  // namespace gyre::testing
