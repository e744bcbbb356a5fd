#ifndef GYRE_BENCHMARKS_LOCAL_LOOPS_H_
#define GYRE_BENCHMARKS_LOCAL_LOOPS_H_

#include <functional>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <utility>
#include <vector>

#include "gyre/loop/io_loop.h"
#include "gyre/loop/mpsc_queue.h"
#include "gyre/loop/poller/poller_factory.h"

// The contenders that need no other library: gyre, what people write by hand, and the limit.

namespace gyre::bench {

// IOLoop, by its public interface.
class GyreLoop {
 public:
  GyreLoop() : GyreLoop(IOLoopOptions()) {}
  explicit GyreLoop(IOLoopOptions options) {
    options.make_current = false;
    loop_ = IOLoop::create(std::move(options)).value();
  }

  void prepare(int, int) {}
  void enter(int) {}
  template <class F>
  void post(F f) {
    loop_->add_callback(std::move(f));
  }
  void run() { loop_->start().IgnoreError(); }
  void stop() { loop_->stop(); }

 protected:
  std::unique_ptr<IOLoop> loop_;
};

// The same by the bounded form, with a limit that is never met.
class GyreBoundedLoop : public GyreLoop {
 public:
  GyreBoundedLoop() : GyreLoop(options()) {}
  template <class F>
  void post(F f) {
    loop_->try_add_callback(std::move(f));
  }

 private:
  static IOLoopOptions options() {
    IOLoopOptions options;
    options.callback_limit = SIZE_MAX / 2;
    return options;
  }
};

// With adaptive spinning.
class GyreSpinningLoop : public GyreLoop {
 public:
  GyreSpinningLoop() : GyreLoop(options()) {}

 private:
  static IOLoopOptions options() {
    IOLoopOptions options;
    options.spin = std::chrono::microseconds(50);
    return options;
  }
};

// The wait of the loops that are written here: gyre's own poller, which has nothing to watch.
class BareWait {
 public:
  void sleep() { poller_->wait(std::chrono::nanoseconds(-1)); }
  Poller& waker() { return *poller_; }

 private:
  std::unique_ptr<Poller> poller_ = create_poller(Backend::kDefault).value();
};

// A mutex and a vector of std::function, which the consumer swaps for an empty one; only a consumer
// that sleeps is woken. The careful form of what most programs have.
class MutexVectorLoop {
 public:
  void prepare(int, int) {}
  void enter(int) {}
  template <class F>
  void post(F f) {
    bool wake;
    {
      std::lock_guard lock(mutex_);
      posted_.emplace_back(std::move(f));
      wake = std::exchange(sleeping_, false);
    }
    if (wake) wait_.waker().wake();
  }
  void run() {
    std::vector<std::function<void()>> batch;
    while (!stopped_) {
      {
        std::lock_guard lock(mutex_);
        batch.swap(posted_);
        sleeping_ = batch.empty();
      }
      if (batch.empty()) wait_.sleep();
      for (std::function<void()>& f : batch) f();
      batch.clear();
    }
  }
  void stop() {
    post([this] { stopped_ = true; });
  }

 private:
  std::mutex mutex_;
  std::vector<std::function<void()>> posted_;
  bool sleeping_ = false;
  bool stopped_ = false;  // the consumer's
  BareWait wait_;
};

// The limit: gyre's intrusive queue, with nodes that were allocated and touched beforehand, and
// nothing of a loop around it.
class BareQueueLoop {
 public:
  void prepare(int producers, int posts) {
    memory_.resize(producers + 1);  // one for the stop
    for (auto& memory : memory_) memory = std::vector<Line>(posts);
  }
  void enter(int producer) {
    std::vector<Line>& memory = memory_[producer];
    cursor_ = {memory.data()->bytes, memory.data()->bytes, memory.size() * sizeof(Line)};
  }
  template <class F>
  void post(F f) {
    using Node = TypedNode<F>;
    static_assert(sizeof(Node) <= sizeof(Line));
    if (cursor_.left < sizeof(Node)) cursor_.rewind();
    queue_.push(::new (cursor_.take(sizeof(Node))) Node(std::move(f)), wait_.waker());
  }
  void run() {
    bool slept = false;
    while (!stopped_) {
      auto batch = queue_.take_all(std::exchange(slept, false));
      auto* node = static_cast<Node*>(batch.first);
      while (node != nullptr) {
        auto* next = static_cast<Node*>(node->next.get());
        node->function(node);
        node = next;
      }
      if (batch.first == nullptr && queue_.prepare_to_sleep()) {
        slept = true;
        wait_.sleep();
      }
    }
  }
  void stop() {
    enter(static_cast<int>(memory_.size()) - 1);
    post([this] { stopped_ = true; });
  }

 private:
  struct alignas(64) Line {
    char bytes[64] = {};
  };
  struct Node : internal::MpscNode<> {
    void (*function)(Node*);
  };
  template <class F>
  struct TypedNode : Node {
    explicit TypedNode(F f) : callable(std::move(f)) {
      this->function = [](Node* node) { static_cast<TypedNode*>(node)->callable(); };
    }
    F callable;
  };
  // A producer's nodes, from front to back; no round posts more than there are, and of round trips
  // one is on the way at a time.
  struct Cursor {
    char* begin;
    char* next;
    size_t left;

    void* take(size_t bytes) {
      left -= bytes;
      return std::exchange(next, next + bytes);
    }
    void rewind() {
      left += next - begin;
      next = begin;
    }
  };

  std::vector<std::vector<Line>> memory_;
  static constinit inline thread_local Cursor cursor_ = {};
  internal::MpscQueue<> queue_;
  bool stopped_ = false;  // the consumer's
  BareWait wait_;
};

}  // namespace gyre::bench

#endif  // GYRE_BENCHMARKS_LOCAL_LOOPS_H_
