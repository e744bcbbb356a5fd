// The conformance of every backend: coroutines that await an fd.

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "gyre/loop/io_loop.h"
#include "gyre/loop/task.h"
#include "gyre/tests/loop/task_fixture.h"
#include "gyre/tests/support/sockets.h"

namespace gyre::testing {
namespace {

using absl::StatusCode;
using std::chrono::milliseconds;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

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

}  // namespace
}  // namespace gyre::testing
