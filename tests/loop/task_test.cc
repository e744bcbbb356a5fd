// The conformance of every backend: coroutines.

#include "gyre/loop/task.h"

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "gyre/loop/io_loop.h"
#include "gyre/tests/support/event.h"
#include "gyre/tests/support/loop_fixture.h"
#include "gyre/testing/manual_clock.h"
#include "gyre/tests/support/on_destroy.h"
#include "gyre/tests/support/sockets.h"

namespace gyre::testing {
namespace {

using absl::StatusCode;
using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::nanoseconds;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using Names = std::vector<std::string>;

class IOLoopTasks : public LoopTest {
 protected:
  OnDestroy note_destroyed(std::string name = "destroyed") {
    return OnDestroy([this, name] { seen_.push_back(name); });
  }

  Names seen_;
};
GYRE_FOR_EACH_BACKEND(IOLoopTasks);

Task<int> give(int value) { co_return value; }
Task<std::string> fail(std::string what) {
  throw std::runtime_error(what);
  co_return "";
}

// ---- Awaiting tasks

TEST_P(IOLoopTasks, AreLazy) {
  auto body = [&]() -> Task<> {
    seen_.push_back("ran");
    co_return;
  };
  {
    Task<> never = body();
    EXPECT_TRUE(never.valid());
    EXPECT_THAT(seen_, IsEmpty());
  }
  EXPECT_THAT(seen_, IsEmpty());
  Task<> task = body();
  Task<> moved = std::move(task);
  EXPECT_FALSE(task.valid());  // NOLINT: that is what it is about
  EXPECT_TRUE(loop_->run_sync([&] { return std::move(moved); }).ok());
  EXPECT_THAT(seen_, ElementsAre("ran"));
}

TEST_P(IOLoopTasks, GiveTheirValueAndTheirExceptionToWhoAwaitsThem) {
  EXPECT_TRUE(loop_
                  ->run_sync([&]() -> Task<> {
                    EXPECT_EQ(co_await give(3), 3);
                    try {
                      co_await fail("inner");
                      ADD_FAILURE() << "not thrown";
                    } catch (const std::runtime_error& error) {
                      EXPECT_STREQ(error.what(), "inner");
                    }
                    auto owned = []() -> Task<std::unique_ptr<int>> {
                      co_return std::make_unique<int>(4);
                    };
                    EXPECT_EQ(*co_await owned(), 4);
                  })
                  .ok());
}

TEST_P(IOLoopTasks, AnExceptionPassesThroughThoseThatDoNotCatchIt) {
  std::function<Task<int>(int)> nested = [&](int depth) -> Task<int> {
    OnDestroy notice = note_destroyed(std::to_string(depth));
    if (depth == 0) throw std::runtime_error("from the depth");
    co_return co_await nested(depth - 1);
  };
  EXPECT_THROW(static_cast<void>(loop_->run_sync([&] { return nested(3); })), std::runtime_error);
  EXPECT_THAT(seen_, ElementsAre("0", "1", "2", "3"));
}

Task<int> deep(int depth) {
  if (depth == 0) co_return 0;
  co_return 1 + co_await deep(depth - 1);
}

Task<int> deep_and_suspended(int depth) {
  if (depth == 0) {
    co_await sleep_for(milliseconds(0));
    co_return 0;
  }
  co_return 1 + co_await deep_and_suspended(depth - 1);
}

Task<int> deep_failure(int depth) {
  if (depth == 0) throw std::runtime_error("from the depth");
  co_return 1 + co_await deep_failure(depth - 1);
}

TEST_P(IOLoopTasks, AChainOfAHundredThousandAwaitsDeepNeedsNoStack) {
  // Guards against a compiler that makes no tail calls: symmetric transfer alone would recurse.
  EXPECT_EQ(*loop_->run_sync([] { return deep(100000); }), 100000);
  EXPECT_EQ(*loop_->run_sync([] { return deep_and_suspended(100000); }), 100000);
}

TEST_P(IOLoopTasks, AnExceptionOutOfAChainOfManyAwaitsNeedsNoStack) {
  // Fewer: each level throws it anew, which is slow.
  EXPECT_THROW(static_cast<void>(loop_->run_sync([] { return deep_failure(20000); })),
               std::runtime_error);
}

TEST_P(IOLoopTasks, AHundredThousandAwaitsOneAfterTheOtherNeedNoStack) {
  EXPECT_EQ(*loop_->run_sync([]() -> Task<int> {
    int sum = 0;
    for (int i = 0; i < 100000; ++i) sum += co_await give(1);
    co_return sum;
  }),
            100000);
}

TEST_P(IOLoopTasks, AHundredThousandAwaitsOfFuturesThatAreDoneNeedNoStack) {
  EXPECT_EQ(*loop_->run_sync([]() -> Task<int> {
    int sum = 0;
    for (int i = 0; i < 100000; ++i) {
      Promise<int> promise;
      promise.set_value(1);
      sum += co_await promise.get_future();
    }
    co_return sum;
  }),
            100000);
}

// ---- spawn_callback

TEST_P(IOLoopTasks, ASpawnedTaskIsRunToItsEnd) {
  EXPECT_TRUE(loop_->spawn_callback(
      [&](int i) -> Task<> {
        seen_.push_back("begin " + std::to_string(i));
        co_await sleep_for(milliseconds(1));
        seen_.push_back("end");
        loop_->stop();
      },
      3));
  EXPECT_THAT(seen_, IsEmpty()) << "never inside the call";
  run();
  EXPECT_THAT(seen_, ElementsAre("begin 3", "end"));
}

TEST_P(IOLoopTasks, ASpawnedFunctionAndItsArgumentsAreKeptUntilTheTaskHasEnded) {
  // Guards a lambda's captures, which its coroutine uses to the end.
  loop_->spawn_callback(
      [&, function = note_destroyed("function destroyed"), text = std::string(100, 'c')](
          const std::string& argument, const OnDestroy&) -> Task<> {
        co_await sleep_for(milliseconds(1));
        EXPECT_EQ(text, std::string(100, 'c'));
        EXPECT_EQ(argument, std::string(100, 'a'));
        seen_.push_back("task ends");
        loop_->call_later(milliseconds(0), [&] { loop_->stop(); });
      },
      std::string(100, 'a'), note_destroyed("argument destroyed"));
  run();
  ASSERT_EQ(seen_.size(), 3u) << "destroyed soon after the end";
  EXPECT_EQ(seen_[0], "task ends");
}

TEST_P(IOLoopTasks, ASpawnedTasksExceptionGoesToTheExceptionHandler) {
  std::vector<std::string> errors;
  loop_->set_exception_handler([&](std::exception_ptr error) {
    try {
      std::rethrow_exception(error);
    } catch (const std::exception& e) {
      errors.push_back(e.what());
    }
    if (errors.size() == 3) loop_->stop();
  });
  loop_->spawn_callback([]() -> Task<> {
    throw std::runtime_error("at once");
    co_return;
  });
  loop_->spawn_callback([]() -> Task<int> {
    co_await sleep_for(milliseconds(1));
    throw std::runtime_error("later");
  });
  loop_->spawn_callback(
      [](bool no_task) -> Task<> {
        if (no_task) throw std::runtime_error("before the task");
        return []() -> Task<> { co_return; }();
      },
      true);
  run();
  EXPECT_THAT(errors, ElementsAre("at once", "before the task", "later"));
  EXPECT_EQ(loop_->metrics().exceptions, 3u);
}

TEST_P(IOLoopTasks, ASpawnedTasksExceptionIsLoggedWhereThereIsNoHandler) {
  log_.expect(LogLevel::kError, "out of a task");
  loop_->spawn_callback([]() -> Task<> {
    co_await sleep_for(milliseconds(0));
    throw std::runtime_error("out of a task");
  });
  run_turns(3);
}

TEST_P(IOLoopTasks, ASpawnedTasksResultIsDestroyed) {
  loop_->spawn_callback([&]() -> Task<OnDestroy> { co_return note_destroyed(); });
  run_turns(2);
  EXPECT_THAT(seen_, ElementsAre("destroyed"));
}

TEST_P(IOLoopTasks, AThousandSpawnedTasksRunSideBySide) {
  int begun = 0, left = 1000;
  for (int i = 0; i < 1000; ++i) {
    loop_->spawn_callback([&]() -> Task<> {
      ++begun;
      while (begun < 1000) co_await sleep_for(milliseconds(0));  // each waits for all
      co_await sleep_for(milliseconds(0));
      if (--left == 0) loop_->stop();
    });
  }
  run();
  EXPECT_EQ(left, 0);
}

// ---- sleep_for

TEST_P(IOLoopTasks, SleepForIsNeverEarlyAndGivesNothing) {
  static_assert(std::is_void_v<decltype(sleep_for(milliseconds(1)).await_resume())>);
  EXPECT_TRUE(loop_
                  ->run_sync([&]() -> Task<> {
                    const IOLoop::TimePoint start = loop_->time();
                    co_await sleep_for(milliseconds(5));
                    EXPECT_GE(loop_->time() - start, milliseconds(5));
                  })
                  .ok());
}

TEST_P(IOLoopTasks, SleepForAlwaysSuspendsForZeroAndLessToo) {
  loop_->spawn_callback([&]() -> Task<> {
    for (nanoseconds delay : {nanoseconds(0), nanoseconds(-5), nanoseconds::min()}) {
      loop_->add_callback([&] { seen_.push_back("others run"); });
      co_await sleep_for(delay);
      seen_.push_back("resumed");
    }
    loop_->stop();
  });
  run();
  EXPECT_THAT(seen_, ElementsAre("others run", "resumed", "others run", "resumed", "others run",
                                 "resumed"));
}

TEST_P(IOLoopTasks, SleepForTakesAnyDuration) {
  EXPECT_TRUE(loop_
                  ->run_sync([&]() -> Task<> {
                    co_await sleep_for(std::chrono::duration<double>(0.001));
                    co_await sleep_for(std::chrono::seconds(0));
                  })
                  .ok());
  EXPECT_EQ(loop_->run_sync([&]() -> Task<> { co_await sleep_for(hours::max()); }, milliseconds(3))
                .code(),
            StatusCode::kDeadlineExceeded);
}

// ---- readable and writable

TEST_P(IOLoopTasks, ReadableAndWritableResumeWhenTheFdIsReady) {
  FdPair pair = socket_pair();
  EXPECT_TRUE(loop_
                  ->run_sync([&]() -> Task<> {
                    EXPECT_TRUE((co_await writable(pair.a.get())).ok());
                    loop_->call_later(milliseconds(2), [&] {
                      seen_.push_back("written");
                      write_all(pair.b.get(), "x");
                    });
                    EXPECT_TRUE((co_await readable(pair.a.get())).ok());
                    seen_.push_back("readable");
                    EXPECT_EQ(read_available(pair.a.get()), "x");
                  })
                  .ok());
  EXPECT_THAT(seen_, ElementsAre("written", "readable"));
}

TEST_P(IOLoopTasks, ReadableRemovesItsRegistrationBeforeItResumes) {
  FdPair pair = socket_pair();
  write_all(pair.b.get(), "x");
  EXPECT_TRUE(loop_
                  ->run_sync([&]() -> Task<> {
                    EXPECT_TRUE((co_await readable(pair.a.get())).ok());
                    EXPECT_EQ(loop_->remove_handler(pair.a.get()).code(), StatusCode::kNotFound);
                    EXPECT_TRUE(loop_
                                    ->add_handler(
                                        pair.a.get(), [](int, uint32_t) {}, IOLoop::READ)
                                    .ok());
                    EXPECT_TRUE(loop_->remove_handler(pair.a.get()).ok());
                    EXPECT_TRUE((co_await readable(pair.a.get())).ok()) << "and once more";
                    pair.a.reset();
                  })
                  .ok());
}

TEST_P(IOLoopTasks, OneReaderAndOneWriterMayWaitForTheSameFd) {
  FdPair pair = socket_pair();
  fill(pair.a.get());
  auto wait = [&](bool read) -> Task<> {
    const absl::Status status =
        read ? co_await readable(pair.a.get()) : co_await writable(pair.a.get());
    EXPECT_TRUE(status.ok()) << status;
    seen_.push_back(read ? "readable" : "writable");
    if (seen_.size() == 2) loop_->stop();
  };
  loop_->spawn_callback(wait, true);
  loop_->spawn_callback(wait, false);
  run_turns(2);
  EXPECT_THAT(seen_, IsEmpty());
  read_available(pair.b.get());
  run_turns(2);
  EXPECT_THAT(seen_, ElementsAre("writable")) << "the reader waits on";
  write_all(pair.b.get(), "x");
  run();
  EXPECT_THAT(seen_, ElementsAre("writable", "readable"));
}

TEST_P(IOLoopTasks, AReaderAndAWriterThatAreReadyTogetherBothResume) {
  FdPair pair = socket_pair();
  write_all(pair.b.get(), "x");
  auto wait = [&](bool read) -> Task<> {
    EXPECT_TRUE((read ? co_await readable(pair.a.get()) : co_await writable(pair.a.get())).ok());
    seen_.push_back(read ? "r" : "w");
  };
  loop_->spawn_callback(wait, true);
  loop_->spawn_callback(wait, false);
  run_turns(2);
  EXPECT_THAT(seen_, ::testing::UnorderedElementsAre("r", "w"));
}

TEST_P(IOLoopTasks, ASecondWaiterForTheSameFdAndDirectionIsRefused) {
  FdPair pair = socket_pair();
  loop_->spawn_callback([&]() -> Task<> {
    EXPECT_TRUE((co_await readable(pair.a.get())).ok());
    seen_.push_back("first");
    loop_->stop();
  });
  loop_->spawn_callback([&]() -> Task<> {
    EXPECT_EQ((co_await readable(pair.a.get())).code(), StatusCode::kAlreadyExists);
    seen_.push_back("second");
    write_all(pair.b.get(), "x");
  });
  run();
  EXPECT_THAT(seen_, ElementsAre("second", "first"));
}

TEST_P(IOLoopTasks, AnFdThatHasAHandlerOrCannotBeWatchedIsRefused) {
  FdPair pair = socket_pair();
  ASSERT_TRUE(loop_
                  ->add_handler(
                      pair.a.get(), [](int, uint32_t) {}, IOLoop::NONE)
                  .ok());
  const int closed = closed_fd();
  EXPECT_TRUE(loop_
                  ->run_sync([&]() -> Task<> {
                    EXPECT_EQ((co_await readable(pair.a.get())).code(), StatusCode::kAlreadyExists);
                    EXPECT_EQ((co_await readable(-1)).code(), StatusCode::kInvalidArgument);
                    EXPECT_FALSE((co_await writable(closed)).ok());
                  })
                  .ok());
  EXPECT_TRUE(loop_->remove_handler(pair.a.get()).ok()) << "the handler stays";
}

TEST_P(IOLoopTasks, AnFdThatIsAwaitedTakesNoHandler) {
  FdPair pair = socket_pair();
  loop_->spawn_callback([&]() -> Task<> {
    EXPECT_TRUE((co_await readable(pair.a.get())).ok());
    loop_->stop();
  });
  loop_->add_callback([&] {
    EXPECT_EQ(loop_
                  ->add_handler(
                      pair.a.get(), [](int, uint32_t) {}, IOLoop::READ)
                  .code(),
              StatusCode::kAlreadyExists);
    write_all(pair.b.get(), "x");
  });
  run();
}

TEST_P(IOLoopTasks, RemovingTheHandlerOfAnAwaitedFdHarmsNothing) {
  // Guards the waiters' own table against a registration that is taken away behind its back.
  FdPair pair = socket_pair();
  loop_->spawn_callback([&]() -> Task<> { static_cast<void>(co_await readable(pair.a.get())); });
  run_turns(1);
  static_cast<void>(loop_->remove_handler(pair.a.get()));
  static_cast<void>(loop_->update_handler(pair.a.get(), IOLoop::NONE));
  run_turns(1);
  loop_->spawn_callback([&]() -> Task<> { static_cast<void>(co_await writable(pair.a.get())); });
  run_turns(2);
}

TEST_P(IOLoopTasks, AHangUpResumesBothDirections) {
  FdPair pair = socket_pair();
  fill(pair.a.get());
  auto wait = [&](bool read) -> Task<> {
    EXPECT_TRUE((read ? co_await readable(pair.a.get()) : co_await writable(pair.a.get())).ok());
    seen_.push_back(read ? "r" : "w");
  };
  loop_->spawn_callback(wait, true);
  loop_->spawn_callback(wait, false);
  run_turns(1);
  pair.b.reset();
  run_turns(2);
  EXPECT_THAT(seen_, ::testing::UnorderedElementsAre("r", "w"));
}

TEST_P(IOLoopTasks, APingPongOfCoroutinesOverASocket) {
  FdPair pair = socket_pair();
  auto echo = [](int fd, int rounds) -> Task<int> {
    int echoed = 0;
    while (echoed < rounds) {
      EXPECT_TRUE((co_await readable(fd)).ok());
      const std::string data = read_available(fd);
      EXPECT_TRUE((co_await writable(fd)).ok());
      write_all(fd, data);
      ++echoed;
    }
    co_return echoed;
  };
  loop_->spawn_callback(echo, pair.b.get(), 500);
  write_all(pair.a.get(), "ball");
  EXPECT_EQ(*loop_->run_sync([&] { return echo(pair.a.get(), 500); }), 500);
}

// ---- resume_on

TEST_P(IOLoopTasks, ResumeOnGoesOnInTheOtherLoopsThread) {
  std::unique_ptr<IOLoop> other = make_loop();
  LoopInThread thread(*other);
  EXPECT_TRUE(loop_
                  ->run_sync([&]() -> Task<> {
                    EXPECT_TRUE(loop_->in_loop_thread());
                    for (int i = 0; i < 200; ++i) {
                      EXPECT_TRUE(co_await resume_on(*other));
                      EXPECT_TRUE(other->in_loop_thread());
                      EXPECT_FALSE(loop_->in_loop_thread());
                      EXPECT_EQ(IOLoop::current(false), other.get());
                      EXPECT_TRUE(co_await resume_on(*loop_));
                      EXPECT_TRUE(loop_->in_loop_thread());
                    }
                  })
                  .ok());
}

TEST_P(IOLoopTasks, ResumeOnTheSameLoopIsTrue) {
  EXPECT_TRUE(loop_
                  ->run_sync([&]() -> Task<> {
                    EXPECT_TRUE(co_await resume_on(*loop_));
                    EXPECT_TRUE(loop_->in_loop_thread());
                  })
                  .ok());
}

TEST_P(IOLoopTasks, ResumeOnAClosedLoopIsFalseAndStays) {
  std::unique_ptr<IOLoop> other = make_loop();
  ASSERT_TRUE(other->close().ok());
  EXPECT_TRUE(loop_
                  ->run_sync([&]() -> Task<> {
                    EXPECT_FALSE(co_await resume_on(*other));
                    EXPECT_TRUE(loop_->in_loop_thread());
                    co_await sleep_for(milliseconds(1));
                    EXPECT_TRUE(loop_->in_loop_thread());
                    EXPECT_FALSE(co_await resume_on(*other));
                  })
                  .ok());
}

TEST_P(IOLoopTasks, AwaitersUseTheLoopThatResumeOnWentTo) {
  std::unique_ptr<IOLoop> other = make_loop();
  LoopInThread thread(*other);
  FdPair pair = socket_pair();
  Promise<int> promise;
  EXPECT_TRUE(loop_
                  ->run_sync([&]() -> Task<> {
                    EXPECT_TRUE(co_await resume_on(*other));
                    co_await sleep_for(milliseconds(1));
                    EXPECT_TRUE(other->in_loop_thread());
                    write_all(pair.b.get(), "x");
                    EXPECT_TRUE((co_await readable(pair.a.get())).ok());
                    EXPECT_TRUE(other->in_loop_thread());
                    loop_->add_callback([&] { promise.set_value(1); });
                    co_await promise.get_future();
                    EXPECT_TRUE(other->in_loop_thread());
                    EXPECT_EQ(co_await give(2), 2);
                    EXPECT_TRUE(other->in_loop_thread());
                  })
                  .ok());
}

TEST_P(IOLoopTasks, AHopInTheInnermostTaskMovesTheWholeChain) {
  std::unique_ptr<IOLoop> other = make_loop();
  LoopInThread thread(*other);
  auto hop = [&]() -> Task<int> {
    EXPECT_TRUE(co_await resume_on(*other));
    co_return 1;
  };
  auto middle = [&]() -> Task<int> {
    const int value = co_await hop();
    EXPECT_TRUE(other->in_loop_thread());
    co_return value;
  };
  EXPECT_EQ(*loop_->run_sync([&]() -> Task<int> {
    const int value = co_await middle();
    EXPECT_TRUE(other->in_loop_thread());
    co_return value;
  }),
            1);
}

TEST_P(IOLoopTasks, ATasksExceptionGoesToTheHandlerOfTheLoopThatSpawnedIt) {
  std::unique_ptr<IOLoop> other = make_loop();
  other->set_exception_handler([&](std::exception_ptr) { ADD_FAILURE() << "the wrong loop's"; });
  int errors = 0;
  loop_->set_exception_handler([&](std::exception_ptr) {
    EXPECT_TRUE(loop_->in_loop_thread());
    ++errors;
    loop_->stop();
  });
  LoopInThread thread(*other);
  loop_->spawn_callback([&]() -> Task<> {
    EXPECT_TRUE(co_await resume_on(*other));
    throw std::runtime_error("elsewhere");
  });
  run();
  EXPECT_EQ(errors, 1);
}

TEST_P(IOLoopTasks, ATasksExceptionIsLoggedWhereTheLoopThatSpawnedItIsGone) {
  log_.expect(LogLevel::kError, "nobody's exception");
  std::unique_ptr<IOLoop> other = make_loop();
  loop_->spawn_callback([&, o = other.get()]() -> Task<> {
    EXPECT_TRUE(co_await resume_on(*o));
    throw std::runtime_error("nobody's exception");
  });
  run_turns(1);
  loop_.reset();
  run_turns(*other, 1);
}

TEST_P(IOLoopTasks, ManyTasksHopToAndFroAtOnce) {
  std::unique_ptr<IOLoop> other = make_loop();
  LoopInThread a(*loop_), b(*other);
  Event done;
  for (int i = 0; i < 50; ++i) {
    loop_->spawn_callback([&]() -> Task<> {
      for (int j = 0; j < 20; ++j) {
        EXPECT_TRUE(co_await resume_on(*other));
        EXPECT_TRUE(co_await resume_on(*loop_));
      }
      done.set();
    });
  }
  EXPECT_TRUE(done.wait(50));
}

// ---- Close while suspended

TEST_P(IOLoopTasks, CloseDestroysThoseThatAreSuspendedUnresumedFromTheOutermostFrame) {
  FdPair empty = socket_pair(), full = socket_pair();
  fill(full.a.get());
  Promise<int> promise;
  auto inner = [&](int kind) -> Task<> {
    OnDestroy notice = note_destroyed("inner " + std::to_string(kind));
    switch (kind) {
      case 0:
        co_await sleep_for(hours(1));
        break;
      case 1:
        static_cast<void>(co_await readable(empty.a.get()));
        break;
      case 2:
        static_cast<void>(co_await writable(full.a.get()));
        break;
      default:
        co_await promise.get_future();
    }
    seen_.push_back("resumed");
  };
  auto outer = [&](int kind) -> Task<> {
    OnDestroy notice = note_destroyed("outer " + std::to_string(kind));
    co_await inner(kind);
    seen_.push_back("resumed");
  };
  for (int kind = 0; kind < 4; ++kind) {
    std::unique_ptr<IOLoop> loop = make_loop();
    const std::string n = std::to_string(kind);
    loop->spawn_callback([&, f = note_destroyed("function " + n)](int k) { return outer(k); },
                         kind);
    run_turns(*loop, 1);
    EXPECT_THAT(seen_, IsEmpty());
    if (kind % 2 == 0) {
      ASSERT_TRUE(loop->close().ok());
    } else {
      loop.reset();
    }
    EXPECT_THAT(seen_, ElementsAre("inner " + n, "outer " + n, "function " + n));
    seen_.clear();
  }
  promise.set_value(1);  // later, and harms nothing
  EXPECT_THAT(seen_, IsEmpty());
}

TEST_P(IOLoopTasks, CloseDestroysAChainThatHoppedHereAndNotOneThatHoppedAway) {
  std::unique_ptr<IOLoop> other = make_loop();
  loop_->spawn_callback([&]() -> Task<> {
    OnDestroy notice = note_destroyed();
    EXPECT_TRUE(co_await resume_on(*other));
    seen_.push_back("arrived");
    co_await sleep_for(hours(1));
    seen_.push_back("resumed");
  });
  run_turns(1);
  ASSERT_TRUE(loop_->close().ok());
  EXPECT_THAT(seen_, IsEmpty()) << "it waits on the other loop by now";
  run_turns(*other, 1);
  EXPECT_THAT(seen_, ElementsAre("arrived"));
  ASSERT_TRUE(other->close().ok());
  EXPECT_THAT(seen_, ElementsAre("arrived", "destroyed"));
}

TEST_P(IOLoopTasks, CloseDestroysAChainThatIsOnItsWayHere) {
  std::unique_ptr<IOLoop> other = make_loop();
  loop_->spawn_callback([&]() -> Task<> {
    OnDestroy notice = note_destroyed();
    static_cast<void>(co_await resume_on(*other));
    seen_.push_back("resumed");
  });
  run_turns(1);
  ASSERT_TRUE(other->close().ok());
  EXPECT_THAT(seen_, ElementsAre("destroyed"));
  run_turns(1);
  EXPECT_THAT(seen_, ElementsAre("destroyed"));
}

TEST_P(IOLoopTasks, AHopThatRacesTheCloseOfItsTargetIsRefusedOrDestroyed) {
  // Guards the moment between the source's registry and the target's.
  for (int round = 0; round < 100; ++round) {
    std::unique_ptr<IOLoop> target = make_loop();
    std::atomic<int> destroyed{0}, refused{0}, resumed{0};
    constexpr int kTasks = 10;
    for (int i = 0; i < kTasks; ++i) {
      loop_->spawn_callback([&]() -> Task<> {
        OnDestroy notice([&] { ++destroyed; });
        const bool moved = co_await resume_on(*target);
        ++(moved ? resumed : refused);
      });
    }
    std::thread closer([&] { EXPECT_TRUE(target->close().ok()); });
    run_turns(2);
    closer.join();
    EXPECT_EQ(destroyed, kTasks);
    EXPECT_EQ(resumed, 0) << "nobody ran the target";
    EXPECT_LE(refused, kTasks);
  }
}

TEST_P(IOLoopTasks, ATaskThatIsDestroyedWhileItSleepsIsNeverResumed) {
  // Guards the timeout, the fd and the future of a coroutine that its owner let go.
  ManualClock clock;
  IOLoopOptions options;
  options.clock = &clock;
  std::unique_ptr<IOLoop> loop = make_loop(std::move(options));
  FdPair pair = socket_pair();
  Promise<int> promise;
  struct Holder {
    std::vector<Task<>> tasks;
  };
  auto holder = std::make_shared<Holder>();
  auto sleeper = [&](int kind) -> Task<> {
    OnDestroy notice = note_destroyed();
    if (kind == 0) co_await sleep_for(hours(1));
    if (kind == 1) static_cast<void>(co_await readable(pair.a.get()));
    if (kind == 2) co_await promise.get_future();
    seen_.push_back("resumed");
  };
  for (int kind = 0; kind < 3; ++kind) {
    holder->tasks.push_back(sleeper(kind));
    loop->spawn_callback([holder, kind]() -> Task<> { co_await holder->tasks[kind]; });
  }
  run_turns(*loop, 1);
  holder->tasks.clear();
  EXPECT_THAT(seen_, ElementsAre("destroyed", "destroyed", "destroyed"));
  write_all(pair.b.get(), "x");
  promise.set_value(1);
  clock.advance(hours(2));
  run_turns(*loop, 3);
  EXPECT_EQ(seen_.size(), 3u);
  EXPECT_EQ(loop->remove_handler(pair.a.get()).code(), StatusCode::kNotFound);
}

TEST_P(IOLoopTasks, ASuspendedChainOfAThousandIsDestroyedWithItsLoop) {
  loop_->spawn_callback([&]() -> Task<> {
    OnDestroy notice = note_destroyed();
    std::function<Task<>(int)> nest = [&](int depth) -> Task<> {
      if (depth == 0) {
        co_await sleep_for(hours(1));
      } else {
        co_await nest(depth - 1);
      }
    };
    co_await nest(1000);
  });
  run_turns(1);
  loop_.reset();
  EXPECT_THAT(seen_, ElementsAre("destroyed"));
}

}  // namespace
}  // namespace gyre::testing
