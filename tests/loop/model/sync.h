#ifndef GYRE_TESTS_LOOP_MODEL_SYNC_H_
#define GYRE_TESTS_LOOP_MODEL_SYNC_H_

#include <atomic>
#include <bit>
#include <cstdint>
#include <type_traits>

#include "gyre/tests/loop/model/execution.h"

namespace gyre::model {

template <class T>
Value to_value(T value) {
  if constexpr (std::is_pointer_v<T>) {
    return reinterpret_cast<Value>(value);
  } else {
    return static_cast<Value>(value);
  }
}

template <class T>
T from_value(Value value) {
  if constexpr (std::is_pointer_v<T>) {
    return reinterpret_cast<T>(value);
  } else {
    return static_cast<T>(value);
  }
}

constexpr bool acquires(std::memory_order order) {
  return order == std::memory_order_acquire || order == std::memory_order_acq_rel ||
         order == std::memory_order_seq_cst;
}
constexpr bool releases(std::memory_order order) {
  return order == std::memory_order_release || order == std::memory_order_acq_rel ||
         order == std::memory_order_seq_cst;
}

// The atomics and the plain data of an explored program: what StdSync is to production. The objects
// hold no value, only their number; the values are the explored state's. They have to be made while
// a program is set up (see Explorer), and live until its exploration ends.
//
// seq_cst is taken for acq_rel, which is weaker: no protocol here may rely on more.
struct Sync {
  // The explorer tries every order anyway.
  static void yield() {}

  template <class T>
  class Atomic {
   public:
    constexpr static bool is_always_lock_free = true;

    Atomic() : Atomic(T{}) {}
    Atomic(T value) : location_(Execution::add_location(to_value(value))) {}  // as std::atomic's
    Atomic(const Atomic&) = delete;
    Atomic& operator=(const Atomic&) = delete;

    T load(std::memory_order order) const {
      Request request = make(Request::Kind::kLoad);
      request.acquire = acquires(order);
      return from_value<T>(Execution::operate(request));
    }
    void store(T value, std::memory_order order) {
      Request request = make(Request::Kind::kStore);
      request.release = releases(order);
      request.operand = to_value(value);
      Execution::operate(request);
    }
    T exchange(T value, std::memory_order order) {
      return modify(Request::Kind::kExchange, value, order);
    }
    T fetch_add(T value, std::memory_order order) {
      return modify(Request::Kind::kFetchAdd, value, order);
    }
    bool compare_exchange_strong(T& expected, T desired, std::memory_order success,
                                 std::memory_order failure) {
      return compare_exchange(/*weak=*/false, expected, desired, success, failure);
    }
    bool compare_exchange_weak(T& expected, T desired, std::memory_order success,
                               std::memory_order failure) {
      return compare_exchange(/*weak=*/true, expected, desired, success, failure);
    }

    int location() const { return location_; }

   private:
    Request make(Request::Kind kind) const {
      Request request;
      request.kind = kind;
      request.location = location_;
      return request;
    }
    T modify(Request::Kind kind, T value, std::memory_order order) {
      Request request = make(kind);
      request.acquire = acquires(order);
      request.release = releases(order);
      request.operand = to_value(value);
      return from_value<T>(Execution::operate(request));
    }
    bool compare_exchange(bool weak, T& expected, T desired, std::memory_order success,
                          std::memory_order failure) {
      Request request = make(Request::Kind::kCompareExchange);
      request.weak = weak;
      request.acquire = acquires(success);
      request.release = releases(success);
      request.acquire_failed = acquires(failure);
      request.expected = to_value(expected);
      request.operand = to_value(desired);
      const Value response = Execution::operate(request);
      if (response & kSucceeded) return true;
      expected = from_value<T>(response);
      return false;
    }

    const uint8_t location_;
  };

  template <class T>
  class Plain {
   public:
    Plain() : datum_(Execution::add_plain()) {}
    Plain(const Plain&) = delete;
    Plain& operator=(const Plain&) = delete;

    T get() const { return from_value<T>(Execution::get(datum_)); }
    void set(T value) { Execution::set(datum_, to_value(value)); }
    int datum() const { return datum_; }
    // Its memory goes back to whoever it came from.
    void free() { Execution::free(datum_); }

   private:
    const uint8_t datum_;
  };
};

// What ends the consumer's wait.
struct Waker {
  void wake() { Execution::operate({.kind = Request::Kind::kWake}); }
};

}  // namespace gyre::model

#endif  // GYRE_TESTS_LOOP_MODEL_SYNC_H_
