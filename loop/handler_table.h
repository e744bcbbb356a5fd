#ifndef GYRE_LOOP_HANDLER_TABLE_H_
#define GYRE_LOOP_HANDLER_TABLE_H_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "gyre/loop/call_site.h"
#include "gyre/loop/idle_wheel.h"
#include "gyre/loop/poller/poller.h"

namespace gyre::internal {

// Who is told of an fd's events; and, if it arms itself on the loop's idle wheel, of their absence.
// One base for both, since a server has very many of them: a second one is a second pointer to
// functions.
class EventHandler : public IdleEntry {
 public:
  virtual void handle_events(int fd, uint32_t events) = 0;

  // The registration has ended and no call of this handler is on the stack any more: the last call,
  // in which the handler may delete itself.
  virtual void released() = 0;

  // The loop is closed together with its fds.
  virtual void close_fd(int fd) = 0;

  // Where it was registered, if somebody wants to know.
  virtual CallSite site() const { return {}; }

  // Who finds his own handlers by this mark among all of the loop's; nullptr: nobody.
  virtual const void* owner() const { return nullptr; }

  // What it is and what it waits for, for a person. On the loop's thread.
  virtual std::string describe() const { return "added at " + site().to_string(); }

 protected:
  ~EventHandler() = default;

 private:
  void expired() override {}
};

// fd to handler. Each registration has a generation, which its events carry: an event that was
// fetched for an earlier registration of the same number finds another generation and is dropped.
// Handlers that are removed are released later, by release_removed(). Loop thread only.
class HandlerTable {
 public:
  // `last_generation`: where to begin; for tests of what happens when they have all been used.
  explicit HandlerTable(uint32_t last_generation = 0) : generation_(last_generation) {}

  // 24 bytes: there is one for every fd.
  struct Registration {
    EventHandler* handler = nullptr;  // nullptr: none
    uint32_t generation = 0;
    uint32_t removed_in_wait = 0;  // when the last registration of this number ended
    uint16_t interest = PollEvents::kNone;
    Trigger trigger = Trigger::kLevel;
    bool internal = false;  // of a stream or a coroutine: users may not touch it
    uint32_t added = 0;     // tick_of() when it was registered
  };

  // Fits where the registration has room, for 18 years: an eighth of a second or so.
  static constexpr std::chrono::nanoseconds kTick{int64_t{1} << 27};
  static uint32_t tick_of(SteadyTime time) {
    return static_cast<uint32_t>(time.time_since_epoch() / kTick);
  }

  // What an fd's events carry: the fd below, the generation above.
  static uint64_t token(int fd, uint32_t generation) {
    return static_cast<uint64_t>(generation) << 32 | static_cast<uint32_t>(fd);
  }

  // nullptr: nothing is registered for fd.
  Registration* find(int fd) {
    if (static_cast<size_t>(fd) >= limit_ || table_[fd].handler == nullptr) return nullptr;
    return &table_[fd];
  }
  Registration* find_token(uint64_t token, int* fd) {
    *fd = static_cast<int>(token & 0xffffffff);
    Registration* registration = find(*fd);
    return registration != nullptr && registration->generation == token >> 32 ? registration
                                                                              : nullptr;
  }

  // Has the handler of an event to come brought into the cache, while others are at work.
  void prefetch(uint64_t token) const {
    const size_t fd = token & 0xffffffff;
    if (fd >= limit_) return;
    const char* handler = reinterpret_cast<const char*>(table_[fd].handler);
    __builtin_prefetch(handler);
    __builtin_prefetch(handler + 64);
  }

  // The generation for a registration to come. 2^32 of them have to pass between an event's fetch
  // and its dispatch before one is mistaken for another.
  uint32_t next_generation() { return ++generation_; }

  void insert(int fd, const Registration& registration) {
    if (static_cast<size_t>(fd) >= limit_) {
      table_.resize(fd + 1);
      limit_ = table_.size();
    }
    const uint32_t removed_in_wait = table_[fd].removed_in_wait;
    table_[fd] = registration;
    table_[fd].removed_in_wait = removed_in_wait;
    ++size_;
  }

  void remove(int fd) {
    table_[fd].removed_in_wait = wait_;
    removed_.push_back(std::exchange(table_[fd].handler, nullptr));
    --size_;
  }

  // The events that are looked up from now on come from another wait.
  void begin_wait() { ++wait_; }

  // For a token that finds no registration: true if that registration ended while the events of
  // this wait were handled, false if it ended before: then the poller should not have reported it.
  bool removed_in_this_wait(int fd) const {
    return static_cast<size_t>(fd) < limit_ && table_[fd].removed_in_wait == wait_;
  }

  template <class Visit>
  void for_each(Visit&& visit) {
    for (size_t fd = 0; fd < table_.size(); ++fd) {
      if (table_[fd].handler != nullptr) visit(static_cast<int>(fd), table_[fd]);
    }
  }

  size_t size() const { return size_; }

  bool any_removed() const { return !removed_.empty(); }

  // Only while no handler runs. A handler's destructor may remove others.
  void release_removed() {
    while (!removed_.empty()) {
      EventHandler* handler = removed_.back();
      removed_.pop_back();
      handler->released();
    }
  }

  // Removes every registration, after `visit(fd, handler)`.
  template <class Visit>
  void clear(Visit&& visit) {
    for (size_t fd = 0; fd < table_.size(); ++fd) {
      if (table_[fd].handler == nullptr) continue;
      visit(static_cast<int>(fd), *table_[fd].handler);
      if (table_[fd].handler != nullptr) remove(static_cast<int>(fd));
    }
  }

 private:
  std::vector<Registration> table_;
  size_t limit_ = 0;  // its size, which would take a division
  std::vector<EventHandler*> removed_;
  size_t size_ = 0;
  uint32_t generation_;
  uint32_t wait_ = 1;
};

}  // namespace gyre::internal

#endif  // GYRE_LOOP_HANDLER_TABLE_H_
