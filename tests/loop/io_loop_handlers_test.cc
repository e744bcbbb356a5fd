// The conformance of every backend: handlers of fds, from their registration to the close.

#include <sys/resource.h>

#include <climits>
#include <cstdio>
#include <memory>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "gyre/loop/io_loop.h"
#include "gyre/tests/loop/io_loop_handlers_fixture.h"
#include "gyre/tests/support/loop_fixture.h"
#include "gyre/tests/support/on_destroy.h"
#include "gyre/tests/support/sockets.h"

namespace gyre::testing {
namespace {

using absl::StatusCode;
using ::testing::IsEmpty;

constexpr uint32_t NONE = IOLoop::NONE;
constexpr uint32_t READ = IOLoop::READ;
constexpr uint32_t WRITE = IOLoop::WRITE;
constexpr uint32_t ERROR = IOLoop::ERROR;

GYRE_FOR_EACH_BACKEND(IOLoopHandlers);

// ---- Registration

TEST_P(IOLoopHandlers, AnFdTakesOneHandlerAndTheFirstStays) {
  FdPair pair = socket_pair();
  watch(pair.a.get(), READ);
  bool destroyed = false;
  const absl::Status status = loop_->add_handler(
      pair.a.get(), [n = OnDestroy([&] { destroyed = true; })](int, uint32_t) { ADD_FAILURE(); },
      WRITE);
  EXPECT_EQ(status.code(), StatusCode::kAlreadyExists) << status;
  EXPECT_TRUE(destroyed) << "a refused add_handler destroys its handler";
  run_turns(2);
  EXPECT_THAT(events_[pair.a.get()], IsEmpty()) << "the first one's interest stays";
  write_all(pair.b.get(), "x");
  run_turns(1);
  EXPECT_EQ(only_call(pair.a.get()), READ);
}

TEST_P(IOLoopHandlers, WhatIsNotRegisteredIsNotFound) {
  FdPair pair = socket_pair();
  EXPECT_EQ(loop_->update_handler(pair.a.get(), READ).code(), StatusCode::kNotFound);
  EXPECT_EQ(loop_->remove_handler(pair.a.get()).code(), StatusCode::kNotFound);
  EXPECT_EQ(loop_->remove_handler(INT_MAX).code(), StatusCode::kNotFound);
  EXPECT_EQ(loop_->remove_handler(-1).code(), StatusCode::kNotFound);
  EXPECT_FALSE(loop_->update_handler(-1, READ).ok());
  watch(pair.a.get(), READ);
  EXPECT_TRUE(loop_->remove_handler(pair.a.get()).ok());
  EXPECT_EQ(loop_->remove_handler(pair.a.get()).code(), StatusCode::kNotFound);
  EXPECT_EQ(loop_->update_handler(pair.a.get(), READ).code(), StatusCode::kNotFound);
}

TEST_P(IOLoopHandlers, NegativeAndClosedFdsAreRefused) {
  int destroyed = 0;
  auto handler = [&] {
    return [n = OnDestroy([&] { ++destroyed; })](int, uint32_t) { ADD_FAILURE(); };
  };
  EXPECT_EQ(loop_->add_handler(-1, handler(), READ).code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(loop_->add_handler(INT_MIN, handler(), READ).code(), StatusCode::kInvalidArgument);
  EXPECT_FALSE(loop_->add_handler(INT_MAX, handler(), READ).ok());
  EXPECT_FALSE(loop_->add_handler(closed_fd(), handler(), READ).ok());
  EXPECT_EQ(destroyed, 4);
  run_turns(2);
}

TEST_P(IOLoopHandlers, ARegularFileIsRefusedOrAlwaysReady) {
  std::FILE* file = std::tmpfile();
  ASSERT_NE(file, nullptr);
  int calls = 0;
  const absl::Status status = loop_->add_handler(
      fileno(file), [&](int, uint32_t) { ++calls; }, READ);
  run_turns(2);
  if (status.ok()) {
    EXPECT_EQ(calls, 2);
    EXPECT_TRUE(loop_->remove_handler(fileno(file)).ok());
  } else {
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument) << status;
  }
  std::fclose(file);
}

TEST_P(IOLoopHandlers, AnFdPastFdSetSizeWorksOrIsRefused) {
  // Guards FD_SET against writing behind its array.
  rlimit limit{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
  if (limit.rlim_cur <= 19000) GTEST_SKIP() << "only " << limit.rlim_cur << " fds are allowed here";
  FdPair pair = socket_pair();
  write_all(pair.b.get(), "x");
  for (int number : {FD_SETSIZE - 1, FD_SETSIZE, 4096, 19000}) {
    UniqueFd high(::dup2(pair.a.get(), number));
    ASSERT_EQ(high.get(), number);
    bool destroyed = false;
    const absl::Status status = loop_->add_handler(
        number, [this, n = OnDestroy([&] {
                         destroyed = true;
                       })](int fd, uint32_t e) { events_[fd].push_back(e); },
        READ);
    if (status.ok()) {
      run_turns(1);
      EXPECT_EQ(only_call(number), READ);
      EXPECT_TRUE(loop_->remove_handler(number).ok());
    } else {
      EXPECT_GE(number, FD_SETSIZE);
      EXPECT_EQ(status.code(), StatusCode::kResourceExhausted) << status;
      EXPECT_TRUE(destroyed);
      EXPECT_EQ(loop_->update_handler(number, READ).code(), StatusCode::kNotFound);
      EXPECT_EQ(loop_->remove_handler(number).code(), StatusCode::kNotFound);
    }
  }
}

TEST_P(IOLoopHandlers, UnknownEventsAreRefusedAndErrorIsAllowed) {
  FdPair pair = socket_pair();
  EXPECT_EQ(loop_
                ->add_handler(
                    pair.a.get(), [](int, uint32_t) {}, 0x100)
                .code(),
            StatusCode::kInvalidArgument);
  watch(pair.a.get(), READ | ERROR);
  EXPECT_EQ(loop_->update_handler(pair.a.get(), READ | 0x100).code(), StatusCode::kInvalidArgument);
  write_all(pair.b.get(), "x");
  run_turns(1);
  EXPECT_EQ(only_call(pair.a.get()), READ);
}

TEST_P(IOLoopHandlers, TheConstantsAreTornados) {
  EXPECT_EQ(NONE, 0u);
  EXPECT_EQ(READ, 0x001u);
  EXPECT_EQ(WRITE, 0x004u);
  EXPECT_EQ(ERROR, 0x018u);
}

TEST_P(IOLoopHandlers, AClosedLoopRefusesThem) {
  FdPair pair = socket_pair();
  watch(pair.a.get(), READ);
  ASSERT_TRUE(loop_->close().ok());
  bool destroyed = false;
  EXPECT_EQ(
      loop_
          ->add_handler(
              pair.b.get(), [n = OnDestroy([&] { destroyed = true; })](int, uint32_t) {}, READ)
          .code(),
      StatusCode::kFailedPrecondition);
  EXPECT_TRUE(destroyed);
  EXPECT_EQ(loop_->update_handler(pair.a.get(), WRITE).code(), StatusCode::kFailedPrecondition);
  EXPECT_EQ(loop_->remove_handler(pair.a.get()).code(), StatusCode::kFailedPrecondition);
}

// ---- Objects

struct Object {
  UniqueFd fd;
  int closes = 0;
  int fileno() const { return fd.get(); }
  void close() {
    ++closes;
    fd.reset();
  }
};

struct ObjectWithoutClose {
  int fd;
  int fileno() const { return fd; }
};

TEST_P(IOLoopHandlers, AnObjectIsGivenBackToItsHandler) {
  FdPair pair = socket_pair();
  write_all(pair.b.get(), "x");
  auto object = std::make_shared<Object>(Object{std::move(pair.a)});
  std::shared_ptr<Object> given;
  uint32_t events = 0;
  ASSERT_TRUE(loop_
                  ->add_handler(
                      object,
                      [&](std::shared_ptr<Object> o, uint32_t e) {
                        given = std::move(o);
                        events = e;
                        read_available(given->fileno());
                      },
                      READ)
                  .ok());
  run_turns(2);
  EXPECT_EQ(given, object);
  EXPECT_EQ(events, READ);
  ASSERT_TRUE(loop_->update_handler(object, WRITE).ok());
  run_turns(1);
  EXPECT_EQ(events, WRITE);
  ASSERT_TRUE(loop_->remove_handler(object).ok());
  EXPECT_EQ(object->closes, 0);
}

TEST_P(IOLoopHandlers, AnObjectIsKeptAsLongAsItIsRegistered) {
  FdPair pair = socket_pair();
  auto object = std::make_shared<Object>(Object{std::move(pair.a)});
  std::weak_ptr<Object> weak = object;
  const int fd = object->fileno();
  ASSERT_TRUE(loop_
                  ->add_handler(
                      std::move(object), [](const std::shared_ptr<Object>&, uint32_t) {}, READ)
                  .ok());
  EXPECT_FALSE(weak.expired());
  ASSERT_TRUE(loop_->remove_handler(fd).ok());
  run_turns(1);
  EXPECT_TRUE(weak.expired());
}

TEST_P(IOLoopHandlers, AnObjectAndItsNumberAreOneRegistration) {
  FdPair pair = socket_pair();
  auto object = std::make_shared<Object>(Object{std::move(pair.a)});
  auto handler = [](const std::shared_ptr<Object>&, uint32_t) {};
  ASSERT_TRUE(loop_->add_handler(object, handler, READ).ok());
  EXPECT_EQ(loop_
                ->add_handler(
                    object->fileno(), [](int, uint32_t) {}, READ)
                .code(),
            StatusCode::kAlreadyExists);
  EXPECT_EQ(loop_->add_handler(object, handler, READ).code(), StatusCode::kAlreadyExists);
  EXPECT_TRUE(loop_->remove_handler(object->fileno()).ok());
  ASSERT_TRUE(loop_
                  ->add_handler(
                      object->fileno(), [](int, uint32_t) {}, READ)
                  .ok());
  EXPECT_EQ(loop_->add_handler(object, handler, READ).code(), StatusCode::kAlreadyExists);
  EXPECT_TRUE(loop_->remove_handler(object).ok());
  EXPECT_EQ(object.use_count(), 1);
}

// ---- Close

TEST_P(IOLoopHandlers, CloseWithoutAllFdsLeavesThemOpenAndDestroysTheHandlers) {
  FdPair x = socket_pair(), y = socket_pair();
  int destroyed = 0;
  auto object = std::make_shared<Object>(Object{std::move(y.a)});
  ASSERT_TRUE(loop_
                  ->add_handler(
                      x.a.get(), [n = OnDestroy([&] { ++destroyed; })](int, uint32_t) {}, READ)
                  .ok());
  ASSERT_TRUE(
      loop_
          ->add_handler(
              object,
              [n = OnDestroy([&] { ++destroyed; })](const std::shared_ptr<Object>&, uint32_t) {},
              READ)
          .ok());
  ASSERT_TRUE(loop_->close().ok());
  EXPECT_EQ(destroyed, 2);
  EXPECT_TRUE(is_open(x.a.get()));
  EXPECT_EQ(object->closes, 0);
  EXPECT_EQ(object.use_count(), 1);
}

TEST_P(IOLoopHandlers, TheDestructorLeavesFdsOpen) {
  FdPair pair = socket_pair();
  watch(pair.a.get(), READ);
  loop_.reset();
  EXPECT_TRUE(is_open(pair.a.get()));
}

TEST_P(IOLoopHandlers, CloseWithAllFdsClosesFdsAndCallsTheObjectsClose) {
  FdPair x = socket_pair(), y = socket_pair(), z = socket_pair(), removed = socket_pair();
  auto object = std::make_shared<Object>(Object{std::move(y.a)});
  auto plain = std::make_shared<ObjectWithoutClose>(ObjectWithoutClose{z.a.release()});
  const int number = x.a.release();
  watch(number, READ);
  watch(removed.a.get(), READ);
  ASSERT_TRUE(loop_
                  ->add_handler(
                      object, [](const std::shared_ptr<Object>&, uint32_t) {}, READ)
                  .ok());
  ASSERT_TRUE(loop_
                  ->add_handler(
                      plain, [](const std::shared_ptr<ObjectWithoutClose>&, uint32_t) {}, READ)
                  .ok());
  ASSERT_TRUE(loop_->remove_handler(removed.a.get()).ok());
  ASSERT_TRUE(loop_->close(/*all_fds=*/true).ok());
  EXPECT_FALSE(is_open(number));
  EXPECT_EQ(object->closes, 1);
  EXPECT_FALSE(is_open(plain->fd)) << "it has no close(): its fd is closed";
  EXPECT_TRUE(is_open(removed.a.get()));
}

// ---- The loop's own fds

TEST_P(IOLoopHandlers, TheLoopsOwnFdsAreCloseOnExec) {
  std::vector<bool> before;
  for (int fd = 0; fd < 1024; ++fd) before.push_back(is_open(fd));
  std::unique_ptr<IOLoop> loop = make_loop();
  int made = 0;
  for (int fd = 0; fd < 1024; ++fd) {
    if (before[fd] || !is_open(fd)) continue;
    ++made;
    EXPECT_EQ(::fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC) << "fd " << fd;
  }
  EXPECT_GT(made, 0);
}

TEST_P(IOLoopHandlers, NoFdIsLeaked) {
  const int before = count_open_fds();
  for (int i = 0; i < 20; ++i) {
    std::unique_ptr<IOLoop> loop = make_loop();
    FdPair pair = socket_pair();
    ASSERT_TRUE(loop->add_handler(
                        pair.a.get(), [](int, uint32_t) {}, READ)
                    .ok());
    run_turns(*loop, 1);
    if (i % 2 == 0) {
      ASSERT_TRUE(loop->close().ok());
    }
  }
  EXPECT_EQ(count_open_fds(), before);
}

TEST_P(IOLoopHandlers, WithoutFdsCreateFailsAndLeaksNone) {
  const int before = count_open_fds();
  rlimit limit{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
  // One by one, until there are enough: each step of create() fails once.
  bool made = false;
  for (int room = 0; !made; ++room) {
    ASSERT_LT(room, 8) << "a loop needs a handful of fds";
    std::vector<UniqueFd> fillers;
    rlimit low = limit;
    int highest = ::dup(0);
    ::close(highest);
    low.rlim_cur = highest + room;
    ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &low), 0);
    for (int fd; fillers.size() < 4096 && (fd = ::dup(0)) >= 0;) fillers.emplace_back(fd);
    for (int i = 0; i < room && !fillers.empty(); ++i) fillers.pop_back();
    IOLoopOptions options;
    options.backend = GetParam();
    options.make_current = false;
    const absl::StatusOr<std::unique_ptr<IOLoop>> loop = IOLoop::create(std::move(options));
    ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
    made = loop.ok();
    if (room == 0) {
      EXPECT_FALSE(made);
    }
    if (!made) {
      EXPECT_EQ(loop.status().code(), StatusCode::kResourceExhausted) << loop.status();
    }
  }
  EXPECT_EQ(count_open_fds(), before);
}

}  // namespace
}  // namespace gyre::testing
