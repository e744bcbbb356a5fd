#ifndef GYRE_LOOP_SYNC_H_
#define GYRE_LOOP_SYNC_H_

#include "gyre/loop/cxx20.h"  // before all else

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <limits>
#include <memory>
#include <optional>
#include <utility>

#include "gyre/loop/io_loop.h"
#include "gyre/loop/log.h"
#include "gyre/loop/task.h"

// What coroutines of one loop use to wait for each other: Tornado's locks and queues. Loop thread
// only; each lives on one loop. Whoever waits is served in the order of arrival, and goes on in a
// later iteration. To wait for a limited time: with_timeout(d, task) around a task that waits.

namespace gyre {

namespace internal {

// Coroutines that wait for one thing, in order. One that is destroyed while it waits leaves the
// list.
class WaitList {
 public:
  class Waiter {
   public:
    Waiter() = default;
    Waiter(const Waiter&) = delete;
    Waiter& operator=(const Waiter&) = delete;
    ~Waiter() {
      if (list_ != nullptr) list_->unlink(*this);
    }

    // It was woken, and has not gone on yet.
    bool woken() const { return woken_; }
    void clear_woken() { woken_ = false; }

    void* owner = nullptr;  // for who wakes it

   private:
    friend class WaitList;
    bool woken_ = false;
    WaitList* list_ = nullptr;  // while it waits
    Waiter* previous_ = nullptr;
    Waiter* next_ = nullptr;
    std::shared_ptr<TaskRoot> root_;
    uint64_t epoch_ = 0;
  };

  WaitList() = default;
  WaitList(const WaitList&) = delete;
  WaitList& operator=(const WaitList&) = delete;
  ~WaitList() {
    GYRE_CHECK(empty(), "a lock or queue of a loop is destroyed while a task waits for it");
  }

  bool empty() const { return first_ == nullptr; }

  template <TaskPromise P>
  void wait(Waiter& waiter, std::coroutine_handle<P> coroutine) {
    waiter.root_ = coroutine.promise().root->shared_from_this();
    waiter.epoch_ = waiter.root_->suspend(coroutine);
    waiter.list_ = this;
    waiter.previous_ = last_;
    (last_ != nullptr ? last_->next_ : first_) = &waiter;
    last_ = &waiter;
  }

  // The first one goes on, in a later iteration. Gives it, or nullptr if nobody waits.
  Waiter* wake_one() {
    Waiter* waiter = first_;
    if (waiter == nullptr) return nullptr;
    unlink(*waiter);
    waiter->woken_ = true;
    IOLoop& loop = waiter->root_->loop();
    loop.add_callback(
        [root = std::move(waiter->root_), epoch = waiter->epoch_] { root->resume(epoch); });
    return waiter;
  }
  void wake_all() {
    while (wake_one() != nullptr) {
    }
  }

 private:
  void unlink(Waiter& waiter) {
    (waiter.previous_ != nullptr ? waiter.previous_->next_ : first_) = waiter.next_;
    (waiter.next_ != nullptr ? waiter.next_->previous_ : last_) = waiter.previous_;
    waiter.previous_ = waiter.next_ = nullptr;
    waiter.list_ = nullptr;
  }

  Waiter* first_ = nullptr;
  Waiter* last_ = nullptr;
};

}  // namespace internal

// A flag that coroutines wait for. Once it is set, wait() does not wait, until clear().
class Event {
 public:
  bool is_set() const { return set_; }
  void set() {
    set_ = true;
    waiters_.wake_all();
  }
  void clear() { set_ = false; }

  // co_await event.wait(): gives nothing. Goes on also if the flag was cleared again meanwhile.
  auto wait() { return Awaiter{*this, {}}; }

 private:
  struct Awaiter {
    Event& event;
    internal::WaitList::Waiter waiter;

    bool await_ready() const noexcept { return event.set_; }
    template <internal::TaskPromise P>
    void await_suspend(std::coroutine_handle<P> coroutine) {
      event.waiters_.wait(waiter, coroutine);
    }
    void await_resume() const noexcept {}
  };

  bool set_ = false;
  internal::WaitList waiters_;
};

// A number of permits. Whoever acquires one has to release it.
class Semaphore {
 public:
  explicit Semaphore(size_t permits = 1) : permits_(permits) {}

  // Permits that nobody has, and nobody waits for.
  size_t available() const { return permits_; }

  // Releases its permit when it is destroyed. Move-only.
  class [[nodiscard]] Permit {
   public:
    Permit() = default;
    Permit(Permit&& other) noexcept : semaphore_(std::exchange(other.semaphore_, nullptr)) {}
    Permit& operator=(Permit&& other) noexcept {
      reset();
      semaphore_ = std::exchange(other.semaphore_, nullptr);
      return *this;
    }
    ~Permit() { reset(); }
    void reset() {
      if (semaphore_ != nullptr) std::exchange(semaphore_, nullptr)->release();
    }

   private:
    friend class Semaphore;
    explicit Permit(Semaphore& semaphore) : semaphore_(&semaphore) {}
    Semaphore* semaphore_ = nullptr;
  };

  // co_await semaphore.acquire(): gives a Permit, once there is one.
  auto acquire() { return Awaiter(*this); }

 private:
  class Awaiter {
   public:
    explicit Awaiter(Semaphore& semaphore) : semaphore_(semaphore) {}
    Awaiter(const Awaiter&) = delete;
    Awaiter& operator=(const Awaiter&) = delete;
    ~Awaiter() {
      if (waiter_.woken())
        semaphore_.release();  // it was given a permit, and destroyed before it went on
    }

    bool await_ready() noexcept {
      if (semaphore_.permits_ == 0) return false;
      --semaphore_.permits_;
      return true;
    }
    template <internal::TaskPromise P>
    void await_suspend(std::coroutine_handle<P> coroutine) {
      semaphore_.waiters_.wait(waiter_, coroutine);
    }
    Permit await_resume() {
      waiter_.clear_woken();
      return Permit(semaphore_);
    }

   private:
    Semaphore& semaphore_;
    internal::WaitList::Waiter waiter_;
  };

  // The first one that waits gets the permit; so nobody who comes later can take it.
  void release() {
    if (waiters_.wake_one() == nullptr) ++permits_;
  }

  size_t permits_;
  internal::WaitList waiters_;
};

// Items from coroutine to coroutine, first in, first out.
template <class T>
class Queue {
 public:
  // put() waits while there are `max_size` items.
  explicit Queue(size_t max_size = std::numeric_limits<size_t>::max()) : max_size_(max_size) {
    GYRE_CHECK(max_size > 0, "a queue that holds nothing");
  }

  size_t size() const { return items_.size(); }

  // co_await queue.get(): the oldest item, once there is one.
  auto get() { return GetAwaiter{*this, {}}; }
  // nullopt if there is none.
  std::optional<T> try_get() {
    if (items_.empty()) return std::nullopt;
    return take().value;
  }

  // co_await queue.put(item): gives nothing, once there is room.
  auto put(T item) { return PutAwaiter{*this, std::move(item), {}}; }
  // False, and the item is destroyed: there is no room.
  bool try_put(T item) {
    if (items_.size() >= max_size_) return false;
    add(std::move(item));
    return true;
  }

 private:
  struct Item {
    uint64_t sequence;  // of the put
    T value;
  };

  // Is given its item when it is woken, so that nobody who comes later can take it.
  struct GetAwaiter {
    Queue& queue;
    internal::WaitList::Waiter waiter;
    std::optional<Item> item = std::nullopt;

    ~GetAwaiter() {
      if (waiter.woken() && item.has_value()) queue.give_back(*std::move(item));
    }
    bool await_ready() {
      if (queue.items_.empty()) return false;
      item.emplace(queue.take());
      return true;
    }
    template <internal::TaskPromise P>
    void await_suspend(std::coroutine_handle<P> coroutine) {
      queue.getters_.wait(waiter, coroutine);
      waiter.owner = this;
    }
    T await_resume() {
      waiter.clear_woken();
      return std::move(item->value);
    }
  };
  struct PutAwaiter {
    Queue& queue;
    T item;
    internal::WaitList::Waiter waiter;

    bool await_ready() {
      if (queue.items_.size() >= queue.max_size_) return false;
      queue.add(std::move(item));
      return true;
    }
    template <internal::TaskPromise P>
    void await_suspend(std::coroutine_handle<P> coroutine) {
      queue.putters_.wait(waiter, coroutine);
      waiter.owner = this;
    }
    void await_resume() const noexcept {}
  };

  // Straight to the first one that waits, or to the end of the queue.
  void add(T value) {
    Item item{++last_, std::move(value)};
    if (internal::WaitList::Waiter* getter = getters_.wake_one()) {
      static_cast<GetAwaiter*>(getter->owner)->item.emplace(std::move(item));
    } else {
      items_.push_back(std::move(item));
    }
  }
  // The oldest item; if that makes room, the first one that waits to put puts its own in.
  Item take() {
    Item item = std::move(items_.front());
    items_.pop_front();
    if (items_.size() >= max_size_) return item;  // there were too many: one had come back
    if (internal::WaitList::Waiter* putter = putters_.wake_one()) {
      add(std::move(static_cast<PutAwaiter*>(putter->owner)->item));
    }
    return item;
  }
  // From one that was given it and destroyed before it went on: to where it was in the order.
  void give_back(Item item) {
    if (internal::WaitList::Waiter* getter = getters_.wake_one()) {
      static_cast<GetAwaiter*>(getter->owner)->item.emplace(std::move(item));
      return;
    }
    auto place = items_.begin();
    while (place != items_.end() && place->sequence < item.sequence) ++place;
    items_.insert(place, std::move(item));
  }

  const size_t max_size_;
  std::deque<Item> items_;
  uint64_t last_ = 0;
  internal::WaitList getters_;
  internal::WaitList putters_;
};

}  // namespace gyre

#endif  // GYRE_LOOP_SYNC_H_
