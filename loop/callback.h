#ifndef GYRE_LOOP_CALLBACK_H_
#define GYRE_LOOP_CALLBACK_H_

#include "gyre/loop/cxx20.h"  // before all else

#include <cstdint>
#include <exception>
#include <functional>
#include <type_traits>
#include <utility>

#include "absl/functional/any_invocable.h"

namespace gyre {

// Run once.
using Callback = absl::AnyInvocable<void()>;

// Called for each readiness of a file descriptor, as long as it is registered.
using FdHandler = absl::AnyInvocable<void(int fd, uint32_t events)>;

// Told of what a user's callback threw.
using ExceptionHandler = absl::AnyInvocable<void(std::exception_ptr)>;

template <class T>
class Task;
template <class T>
class Future;

namespace internal {

template <class T>
struct IsTask : std::false_type {};
template <class T>
struct IsTask<Task<T>> : std::true_type {};

template <class T>
struct IsFuture : std::false_type {};
template <class T>
struct IsFuture<Future<T>> : std::true_type {};

template <class F, class... A>
concept CallableOnce = std::is_invocable_v<std::decay_t<F>, std::decay_t<A>...>;

template <class F, class... A>
concept ReturnsTask = CallableOnce<F, A...> &&
    IsTask<std::invoke_result_t<std::decay_t<F>, std::decay_t<A>...>>::value;

template <class F, class... A>
concept PlainCallable = CallableOnce<F, A...> && !ReturnsTask<F, A...>;

}  // namespace internal
}  // namespace gyre

#endif  // GYRE_LOOP_CALLBACK_H_
