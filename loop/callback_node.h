#ifndef GYRE_LOOP_CALLBACK_NODE_H_
#define GYRE_LOOP_CALLBACK_NODE_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <new>
#include <tuple>
#include <type_traits>
#include <utility>

#include "gyre/loop/call_site.h"
#include "gyre/loop/log.h"
#include "gyre/loop/mpsc_queue.h"
#include "gyre/loop/node_arena.h"

// clang's way to tell; g++ defines __SANITIZE_ADDRESS__.
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define GYRE_HAS_ADDRESS_SANITIZER 1
#endif
#endif

namespace gyre::internal {

// A callable and its arguments, stored decayed and called once with rvalues, as std::thread does.
template <class F, class... A>
struct Bound {
  F function;
  std::tuple<A...> arguments;

  template <class G, class... B>
  explicit Bound(G&& g, B&&... b)
      : function(std::forward<G>(g)), arguments(std::forward<B>(b)...) {}

  decltype(auto) operator()() {
    return std::apply(
        [this](A&... a) -> decltype(auto) {
          return std::invoke(std::move(function), std::move(a)...);
        },
        arguments);
  }
};

template <class F>
struct Bound<F> {
  F function;

  template <class G>
  explicit Bound(G&& g) : function(std::forward<G>(g)) {}

  decltype(auto) operator()() { return std::invoke(std::move(function)); }
};

// True for the callables that can be null: function and member pointers, std::function and its kin.
template <class F>
concept NullableCallable = std::is_pointer_v<F> || std::is_member_pointer_v<F> ||
    requires(const F& f) {
  f.operator bool();
};

template <class F>
bool is_null_callable([[maybe_unused]] const F& f) {
  if constexpr (NullableCallable<F>) {
    return !f;
  } else {
    return false;
  }
}

// One callback in a queue: the link, what to do with the callable behind it, and who posted it.
struct CallbackNode : MpscNode<> {
  enum class Op { kRunAndDestroy, kDestroy };
  enum class Origin : uint64_t { kArena, kHeap, kSignalSlot, kBoundedArena };
  using Function = void (*)(CallbackNode*, Op);

  // 64 bytes with the link and a callable of up to 40: most posts are one cache line.
  static constexpr size_t kMaxInlineBytes = 48;

  CallbackNode(Function f, CallSite call_site, Origin origin)
      : function(f),
        site_and_origin(call_site.word() | static_cast<uint64_t>(origin) << kOriginShift) {}

  CallSite site() const { return CallSite::from_word(site_and_origin); }
  Origin origin() const { return static_cast<Origin>(site_and_origin >> kOriginShift); }
  CallbackNode* next_node() const { return static_cast<CallbackNode*>(next.get()); }

  // Runs the callable and destroys it, also when it throws. The node's memory stays.
  void run_and_destroy() { function(this, Op::kRunAndDestroy); }
  void destroy() { function(this, Op::kDestroy); }

  static constexpr int kOriginShift = 62;

  Function function;
  uint64_t site_and_origin;
};

template <class Callable>
struct TypedCallbackNode : CallbackNode {
  template <class... B>
  explicit TypedCallbackNode(CallSite call_site, Origin origin, B&&... b)
      : CallbackNode(&apply, call_site, origin), callable(std::forward<B>(b)...) {}

  static void apply(CallbackNode* node, Op op) {
    struct Destroyer {
      Callable& callable;
      ~Destroyer() { callable.~Callable(); }
    } destroyer{static_cast<TypedCallbackNode*>(node)->callable};
    if (op == Op::kRunAndDestroy) static_cast<void>(destroyer.callable());
  }

  // Destroyed by apply, not with the node.
  union {
    Callable callable;
  };
  ~TypedCallbackNode() = delete;
};

// A callable that is too large to sit in a node.
template <class Callable>
struct Boxed {
  std::unique_ptr<Callable> callable;

  template <class... B>
  explicit Boxed(B&&... b) : callable(new Callable(std::forward<B>(b)...)) {}
  decltype(auto) operator()() { return (*callable)(); }
};

template <class Callable>
using InlineOrBoxed = std::conditional_t<sizeof(Callable) <= CallbackNode::kMaxInlineBytes &&
                                             alignof(Callable) <= NodeArena::kMaxAlignment,
                                         Callable, Boxed<Callable>>;

template <class F, class... A>
using CallbackNodeFor =
    TypedCallbackNode<InlineOrBoxed<Bound<std::decay_t<F>, std::decay_t<A>...>>>;

template <class Node, class Release, class... B>
CallbackNode* construct_node(void* memory, Release release, CallSite site,
                             CallbackNode::Origin origin, B&&... b) {
  struct Guard {  // gives the memory back if a constructor throws
    void* memory;
    Release release;
    ~Guard() {
      if (memory != nullptr) release(memory);
    }
  } guard{memory, release};
  auto* node = ::new (memory) Node(site, origin, std::forward<B>(b)...);
  guard.memory = nullptr;
  return node;
}

// A node from the calling thread's arena: for callbacks that run soon.
template <CallbackNode::Origin origin = CallbackNode::Origin::kArena, class F, class... A>
CallbackNode* new_arena_node(CallSite site, F&& f, A&&... a) {
  using Node = CallbackNodeFor<F, A...>;
  GYRE_CHECK(!is_null_callable(f), "the callback is null");
  return construct_node<Node>(
      NodeArena::allocate(sizeof(Node), alignof(Node)), [](void* p) { NodeArena::release_one(p); },
      site, origin, std::forward<F>(f), std::forward<A>(a)...);
}

// A node of its own: for a callback that waits for long, which would pin a part of the arena.
template <class F, class... A>
CallbackNode* new_heap_node(CallSite site, F&& f, A&&... a) {
  using Node = CallbackNodeFor<F, A...>;
  GYRE_CHECK(!is_null_callable(f), "the callback is null");
  return construct_node<Node>(
      ::operator new(sizeof(Node)), [](void* p) { ::operator delete(p); }, site,
      CallbackNode::Origin::kHeap, std::forward<F>(f), std::forward<A>(a)...);
}

// The node of a post. AddressSanitizer and LeakSanitizer do not see into the arena: for them each
// node is an allocation of its own, so that they tell of a callable that is leaked, or used too
// late.
template <class F, class... A>
CallbackNode* new_posted_node(CallSite site, F&& f, A&&... a) {
#if defined(__SANITIZE_ADDRESS__) || GYRE_HAS_ADDRESS_SANITIZER
  return new_heap_node(site, std::forward<F>(f), std::forward<A>(a)...);
#else
  return new_arena_node(site, std::forward<F>(f), std::forward<A>(a)...);
#endif
}

}  // namespace gyre::internal

#endif  // GYRE_LOOP_CALLBACK_NODE_H_
