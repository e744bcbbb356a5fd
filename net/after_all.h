#ifndef GYRE_NET_AFTER_ALL_H_
#define GYRE_NET_AFTER_ALL_H_

#include "gyre/loop/cxx20.h"  // before all else

#include <utility>

#include "gyre/loop/callback.h"

namespace gyre::internal {

// Calls a function when the last who holds it has let go: after work that was posted to several
// loops, also where one of them is closed and drops it.
class AfterAll {
 public:
  explicit AfterAll(Callback then) : then_(std::move(then)) {}
  AfterAll(const AfterAll&) = delete;
  AfterAll& operator=(const AfterAll&) = delete;
  ~AfterAll() { then_(); }

 private:
  Callback then_;
};

}  // namespace gyre::internal

#endif  // GYRE_NET_AFTER_ALL_H_
