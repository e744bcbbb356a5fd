// What gyre's backend takes for granted of kqueue(2), asked of the calls themselves: of the double
// in tests/support/kqueue_shim, and of the kernel where there is one.

#include <sys/types.h>
//
#include <sys/event.h>

#include <cerrno>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "gyre/loop/unique_fd.h"
#include "gyre/tests/support/sockets.h"

namespace gyre::testing {
namespace {

using Events = std::vector<struct kevent>;

struct kevent change(int fd, int filter, unsigned flags, void* udata = nullptr) {
  struct kevent event;
  EV_SET(&event, static_cast<uintptr_t>(fd), static_cast<short>(filter),
         static_cast<unsigned short>(flags), 0, 0, udata);
  return event;
}

class Kqueue : public ::testing::Test {
 protected:
  // What one call that does not wait returns.
  Events call(const Events& changes, int room = 64) {
    Events events(room);
    const timespec at_once{0, 0};
    const int n = ::kevent(queue_.get(), changes.data(), static_cast<int>(changes.size()),
                           events.data(), room, &at_once);
    error_ = n < 0 ? errno : 0;
    events.resize(n > 0 ? n : 0);
    return events;
  }

  UniqueFd queue_{::kqueue()};
  int error_ = 0;
};

TEST_F(Kqueue, TellsOfAnEndWithAnEventOfEachFilter) {
  FdPair pair = socket_pair();
  call({change(pair.a.get(), EVFILT_READ, EV_ADD), change(pair.a.get(), EVFILT_WRITE, EV_ADD)});
  pair.b.reset();
  const Events events = call({});
  ASSERT_EQ(events.size(), 2u);
  EXPECT_NE(events[0].filter, events[1].filter);
  for (const struct kevent& event : events) {
    EXPECT_EQ(event.ident, static_cast<uintptr_t>(pair.a.get()));
    EXPECT_TRUE(event.flags & EV_EOF);
  }
}

TEST_F(Kqueue, ReturnsAnErrorOfTheChangeListAndMakesTheChangesBehindIt) {
  FdPair pair = socket_pair();
  write_all(pair.b.get(), "x");
  const int gone = closed_fd();
  int mark;
  const Events errors = call(
      {change(gone, EVFILT_READ, EV_DELETE, &mark), change(pair.a.get(), EVFILT_READ, EV_ADD)});
  ASSERT_EQ(errors.size(), 1u) << "the error alone, without the events";
  EXPECT_TRUE(errors[0].flags & EV_ERROR);
  EXPECT_EQ(errors[0].data, EBADF);
  EXPECT_EQ(errors[0].ident, static_cast<uintptr_t>(gone));
  EXPECT_EQ(errors[0].udata, &mark) << "what it was registered with comes back";
  const Events events = call({});
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].ident, static_cast<uintptr_t>(pair.a.get()));
}

TEST_F(Kqueue, GivesAReceiptForEachChangeThatAsksForOneAndNoEvents) {
  FdPair pair = socket_pair();
  write_all(pair.b.get(), "x");
  const Events receipts = call({change(pair.a.get(), EVFILT_READ, EV_ADD | EV_RECEIPT),
                                change(pair.a.get(), EVFILT_WRITE, EV_DELETE | EV_RECEIPT)});
  ASSERT_EQ(receipts.size(), 2u);
  for (const struct kevent& receipt : receipts) EXPECT_TRUE(receipt.flags & EV_ERROR);
  EXPECT_EQ(receipts[0].data, 0);
  EXPECT_EQ(receipts[1].data, ENOENT);
  EXPECT_EQ(call({}).size(), 1u);
}

TEST_F(Kqueue, WithoutRoomForAnErrorFailsWithIt) {
  const Events changes{change(closed_fd(), EVFILT_READ, EV_ADD)};
  EXPECT_TRUE(call(changes, 0).empty());
  EXPECT_EQ(error_, EBADF);
}

TEST_F(Kqueue, ForgetsAnFdThatIsClosedSoThatItsRemovalIsAnError) {
  FdPair pair = socket_pair();
  const int number = pair.a.get();
  UniqueFd copy(::dup(number));  // a copy keeps the file open, and makes no difference
  call({change(number, EVFILT_READ, EV_ADD)});
  pair.a.reset();
  write_all(pair.b.get(), "x");
  EXPECT_TRUE(call({}).empty());
  UniqueFd reused(::dup2(copy.get(), number));
  const Events errors = call({change(number, EVFILT_READ, EV_DELETE)});
  ASSERT_EQ(errors.size(), 1u);
  EXPECT_EQ(errors[0].data, ENOENT);
}

TEST_F(Kqueue, LeavesClearAsItWasWhenAKeventIsAddedAgain) {
  FdPair pair = socket_pair();
  write_all(pair.b.get(), "x");
  call({change(pair.a.get(), EVFILT_READ, EV_ADD | EV_CLEAR)});
  call({});
  int mark;
  call({change(pair.a.get(), EVFILT_READ, EV_ADD, &mark)});
  write_all(pair.b.get(), "x");
  const Events events = call({});
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].udata, &mark);
  EXPECT_TRUE(call({}).empty()) << "it is still an edge";
}

TEST_F(Kqueue, WakesItsWaiterByAUserEventOnce) {
  call({change(1, EVFILT_USER, EV_ADD | EV_CLEAR)});
  struct kevent trigger = change(1, EVFILT_USER, 0);
  trigger.fflags = NOTE_TRIGGER;
  ASSERT_EQ(::kevent(queue_.get(), &trigger, 1, nullptr, 0, nullptr), 0);
  ASSERT_EQ(::kevent(queue_.get(), &trigger, 1, nullptr, 0, nullptr), 0);
  const Events events = call({});
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].filter, EVFILT_USER);
  EXPECT_TRUE(call({}).empty());
}

}  // namespace
}  // namespace gyre::testing
