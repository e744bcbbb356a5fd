// The conformance of every backend: handlers that change, remove and close while others are ready.

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "gyre/loop/io_loop.h"
#include "gyre/tests/loop/io_loop_handlers_fixture.h"
#include "gyre/tests/support/event.h"
#include "gyre/tests/support/loop_fixture.h"
#include "gyre/tests/support/on_destroy.h"
#include "gyre/tests/support/sockets.h"

namespace gyre::testing {
namespace {

using absl::StatusCode;
using std::chrono::milliseconds;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr uint32_t NONE = IOLoop::NONE;
constexpr uint32_t READ = IOLoop::READ;
constexpr uint32_t WRITE = IOLoop::WRITE;

// ---- Changes inside handlers

TEST_P(IOLoopHandlers, AHandlerThatAnEarlierOneOfTheBatchRemovedIsNotCalled) {
  FdPair x = socket_pair(), y = socket_pair();
  write_all(x.b.get(), "x");
  write_all(y.b.get(), "y");
  std::vector<int> called;
  auto remove_the_other = [&](int fd, uint32_t) {
    called.push_back(fd);
    const int other = fd == x.a.get() ? y.a.get() : x.a.get();
    EXPECT_TRUE(loop_->remove_handler(other).ok());
    read_available(fd);
  };
  ASSERT_TRUE(loop_->add_handler(x.a.get(), remove_the_other, READ).ok());
  ASSERT_TRUE(loop_->add_handler(y.a.get(), remove_the_other, READ).ok());
  run_turns(2);
  EXPECT_EQ(called.size(), 1u);
}

TEST_P(IOLoopHandlers, AStaleEventOfAReusedFdIsDropped) {
  // Guards the number that one handler of the batch closed, and that names another file by now.
  FdPair x = socket_pair(), y = socket_pair(), quiet = socket_pair();
  write_all(x.b.get(), "x");
  write_all(y.b.get(), "y");
  int first_calls = 0, stale_calls = 0;
  auto replace_the_other = [&](int fd, uint32_t) {
    ++first_calls;
    read_available(fd);
    FdPair& other = fd == x.a.get() ? y : x;
    const int number = other.a.get();
    ASSERT_TRUE(loop_->remove_handler(number).ok());
    other.a.reset();
    ASSERT_EQ(::dup2(quiet.a.get(), number), number);
    other.a.reset(number);
    ASSERT_TRUE(loop_
                    ->add_handler(
                        number, [&](int, uint32_t) { ++stale_calls; }, READ)
                    .ok());
  };
  ASSERT_TRUE(loop_->add_handler(x.a.get(), replace_the_other, READ).ok());
  ASSERT_TRUE(loop_->add_handler(y.a.get(), replace_the_other, READ).ok());
  run_turns(3);
  EXPECT_EQ(first_calls, 1);
  EXPECT_EQ(stale_calls, 0);
  write_all(quiet.b.get(), "now");
  run_turns(1);
  EXPECT_EQ(stale_calls, 1) << "the new registration works";
}

TEST_P(IOLoopHandlers, AHandlerMayReplaceItself) {
  FdPair pair = socket_pair();
  write_all(pair.b.get(), "x");
  int second = 0;
  const std::string kept(100, 'k');
  ASSERT_TRUE(loop_
                  ->add_handler(
                      pair.a.get(),
                      [&, text = kept](int fd, uint32_t) {
                        ASSERT_TRUE(loop_->remove_handler(fd).ok());
                        ASSERT_TRUE(loop_
                                        ->add_handler(
                                            fd, [&](int, uint32_t) { ++second; }, READ)
                                        .ok());
                        EXPECT_EQ(text, kept) << "destroyed while it runs";
                      },
                      READ)
                  .ok());
  run_turns(1);
  EXPECT_EQ(second, 0) << "not in the same batch";
  run_turns(1);
  EXPECT_EQ(second, 1);
}

TEST_P(IOLoopHandlers, AHandlerMayCloseItsFdAndRegisterTheSameNumberAgain) {
  FdPair pair = socket_pair(), next = socket_pair();
  write_all(pair.b.get(), "x");
  int calls = 0;
  ASSERT_TRUE(loop_
                  ->add_handler(
                      pair.a.get(),
                      [&](int fd, uint32_t) {
                        ASSERT_TRUE(loop_->remove_handler(fd).ok());
                        pair.a.reset();
                        ASSERT_EQ(::dup2(next.a.get(), fd), fd);
                        pair.a.reset(fd);
                        ASSERT_TRUE(loop_
                                        ->add_handler(
                                            fd,
                                            [&](int f, uint32_t) {
                                              ++calls;
                                              read_available(f);
                                            },
                                            READ)
                                        .ok());
                      },
                      READ)
                  .ok());
  run_turns(2);
  EXPECT_EQ(calls, 0);
  write_all(next.b.get(), "y");
  run_turns(2);
  EXPECT_EQ(calls, 1);
}

TEST_P(IOLoopHandlers, AnInterestThatAnEarlierHandlerOfTheBatchDroppedIsHonoured) {
  FdPair x = socket_pair(), y = socket_pair();
  write_all(x.b.get(), "x");
  write_all(y.b.get(), "y");
  std::vector<uint32_t> seen;
  auto drop_read_of_the_other = [&](int fd, uint32_t events) {
    seen.push_back(events);
    read_available(fd);
    const int other = fd == x.a.get() ? y.a.get() : x.a.get();
    EXPECT_TRUE(loop_->update_handler(other, WRITE).ok());
    EXPECT_TRUE(loop_->update_handler(fd, NONE).ok());
  };
  ASSERT_TRUE(loop_->add_handler(x.a.get(), drop_read_of_the_other, READ | WRITE).ok());
  ASSERT_TRUE(loop_->add_handler(y.a.get(), drop_read_of_the_other, READ | WRITE).ok());
  run_turns(1);
  EXPECT_THAT(seen, ElementsAre(READ | WRITE, WRITE));
}

TEST_P(IOLoopHandlers, AnInterestThatWasDroppedEntirelyMeansNoCall) {
  FdPair x = socket_pair(), y = socket_pair();
  write_all(x.b.get(), "x");
  write_all(y.b.get(), "y");
  int calls = 0;
  auto drop_the_other = [&](int fd, uint32_t) {
    ++calls;
    read_available(fd);
    EXPECT_TRUE(loop_->update_handler(fd == x.a.get() ? y.a.get() : x.a.get(), NONE).ok());
  };
  ASSERT_TRUE(loop_->add_handler(x.a.get(), drop_the_other, READ).ok());
  ASSERT_TRUE(loop_->add_handler(y.a.get(), drop_the_other, READ).ok());
  run_turns(2);
  EXPECT_EQ(calls, 1);
}

TEST_P(IOLoopHandlers, AHandlerAddedInABatchIsNotCalledInIt) {
  FdPair x = socket_pair(), y = socket_pair();
  write_all(x.b.get(), "x");
  write_all(y.b.get(), "y");
  std::vector<std::string> order;
  ASSERT_TRUE(loop_
                  ->add_handler(
                      x.a.get(),
                      [&](int fd, uint32_t) {
                        order.push_back("x");
                        read_available(fd);
                        loop_->add_callback([&] { order.push_back("callback"); });
                        ASSERT_TRUE(loop_
                                        ->add_handler(
                                            y.a.get(),
                                            [&](int f, uint32_t) {
                                              order.push_back("y");
                                              read_available(f);
                                            },
                                            READ)
                                        .ok());
                      },
                      READ)
                  .ok());
  run_turns(2);
  EXPECT_THAT(order, ElementsAre("x", "callback", "y"));
}

TEST_P(IOLoopHandlers, ManyThatRemoveAndCloseEachOtherInOneBatchAreEachDestroyedOnce) {
  constexpr int kPairs = 100;
  std::vector<FdPair> pairs;
  int destroyed = 0, called = 0;
  for (int i = 0; i < kPairs; ++i) {
    pairs.push_back(socket_pair());
    write_all(pairs[i].b.get(), "x");
  }
  for (int i = 0; i < kPairs; ++i) {
    ASSERT_TRUE(loop_
                    ->add_handler(
                        pairs[i].a.get(),
                        [&, n = OnDestroy([&] { ++destroyed; })](int, uint32_t) {
                          ++called;
                          for (FdPair& pair : pairs) {
                            EXPECT_TRUE(loop_->remove_handler(pair.a.get()).ok());
                            pair.a.reset();
                          }
                        },
                        READ)
                    .ok());
  }
  run_turns(2);
  EXPECT_EQ(called, 1);
  EXPECT_EQ(destroyed, kPairs);
}

TEST_P(IOLoopHandlers, ARemovedHandlerIsDestroyedByTheNextIteration) {
  FdPair pair = socket_pair();
  std::vector<std::string> order;
  ASSERT_TRUE(loop_
                  ->add_handler(
                      pair.a.get(),
                      [n = OnDestroy([&] { order.push_back("destroyed"); })](int, uint32_t) {},
                      READ)
                  .ok());
  loop_->add_callback([&] {
    EXPECT_TRUE(loop_->remove_handler(pair.a.get()).ok());
    loop_->add_callback(
        [&] { loop_->add_callback([&] { order.push_back("after the next iteration"); }); });
  });
  run_turns(4);
  EXPECT_THAT(order, ElementsAre("destroyed", "after the next iteration"));
}

TEST_P(IOLoopHandlers, ADestructorMayRemoveAnotherHandler) {
  FdPair x = socket_pair(), y = socket_pair();
  watch(y.a.get(), READ);
  ASSERT_TRUE(loop_
                  ->add_handler(
                      x.a.get(), [n = OnDestroy([&] {
                                    EXPECT_TRUE(loop_->remove_handler(y.a.get()).ok());
                                  })](int, uint32_t) {},
                      READ)
                  .ok());
  ASSERT_TRUE(loop_->remove_handler(x.a.get()).ok());
  run_turns(1);
  EXPECT_EQ(loop_->remove_handler(y.a.get()).code(), StatusCode::kNotFound);
}

TEST_P(IOLoopHandlers, MayChangeEverythingFromCallbacksAndTimeouts) {
  FdPair pair = socket_pair();
  write_all(pair.b.get(), "x");
  watch(pair.a.get(), READ);
  loop_->add_callback([&] { EXPECT_TRUE(loop_->update_handler(pair.a.get(), WRITE).ok()); });
  run_turns(1);
  EXPECT_EQ(only_call(pair.a.get()), WRITE);
  loop_->call_later(milliseconds(0),
                    [&] { EXPECT_TRUE(loop_->remove_handler(pair.a.get()).ok()); });
  run_turns(1);
  EXPECT_THAT(events_[pair.a.get()], IsEmpty());
}

// ---- Fds that were closed without removal

TEST_P(IOLoopHandlers, AnFdThatWasClosedWithoutRemovalNeitherSpinsNorStopsTheOthers) {
  FdPair closed = socket_pair(), other = socket_pair();
  watch(closed.a.get(), READ);
  watch(other.a.get(), READ);
  write_all(closed.b.get(), "x");
  const int number = closed.a.get();
  closed.a.reset();
  EXPECT_LT(iterations_at_rest(), 10u);
  EXPECT_THAT(events_[number], IsEmpty());
  write_all(other.b.get(), "y");
  run_turns(1);
  EXPECT_EQ(only_call(other.a.get()), READ);
  EXPECT_TRUE(loop_->remove_handler(number).ok()) << "removing it afterwards is no error";
  // The number works again for the next file.
  ASSERT_EQ(::dup2(other.a.get(), number), number);
  UniqueFd reused(number);
  watch(number, READ);
  run_turns(1);
  EXPECT_EQ(only_call(number), READ);
  EXPECT_TRUE(loop_->remove_handler(number).ok());
}

TEST_P(IOLoopHandlers, AnFdThatAHandlerClosedWithoutRemovalNeitherSpinsNorStopsTheOthers) {
  FdPair pair = socket_pair(), other = socket_pair();
  write_all(pair.b.get(), "x");
  watch(other.a.get(), READ);
  int calls = 0;
  ASSERT_TRUE(loop_
                  ->add_handler(
                      pair.a.get(),
                      [&](int, uint32_t) {
                        ++calls;
                        pair.a.reset();
                      },
                      READ)
                  .ok());
  EXPECT_LT(iterations_at_rest(), 10u);
  EXPECT_EQ(calls, 1);
  write_all(other.b.get(), "y");
  run_turns(1);
  EXPECT_EQ(only_call(other.a.get()), READ);
}

TEST_P(IOLoopHandlers, AnFdThatWasClosedWhileACopyIsOpenDoesNotSpinOnceItIsRemoved) {
  // Guards against epoll, which goes on to report the file as long as any descriptor of it is open
  // (epoll(7), question 6), and then takes no removal by the closed number any more.
  log_.allow("closed before remove_handler");
  FdPair pair = socket_pair(), other = socket_pair();
  UniqueFd copy(::dup(pair.a.get()));
  watch(other.a.get(), READ | WRITE);
  watch(pair.a.get(), READ);
  write_all(pair.b.get(), "x");
  const int number = pair.a.get();
  pair.a.reset();
  EXPECT_TRUE(loop_->remove_handler(number).ok());
  run_turns(3);
  ASSERT_TRUE(loop_->update_handler(other.a.get(), READ).ok());
  EXPECT_LT(iterations_at_rest(), 10u);
  EXPECT_THAT(events_[number], IsEmpty());
  events_.clear();
  write_all(other.b.get(), "y");
  run_turns(1);
  EXPECT_EQ(only_call(other.a.get()), READ) << "the others are watched on";
  LoopInThread thread(*loop_);
  Event ran;
  loop_->add_callback([&] { ran.set(); });
  EXPECT_TRUE(ran.wait()) << "it still wakes up";
}

TEST_P(IOLoopHandlers, AnUpdateOfAClosedFdIsAnErrorAndTheLoopGoesOn) {
  FdPair pair = socket_pair(), other = socket_pair();
  watch(pair.a.get(), READ);
  watch(other.a.get(), READ);
  const int number = pair.a.get();
  pair.a.reset();
  EXPECT_FALSE(loop_->update_handler(number, READ | WRITE).ok());
  write_all(other.b.get(), "y");
  run_until([&] { return !events_[other.a.get()].empty(); });
}

}  // namespace
}  // namespace gyre::testing
