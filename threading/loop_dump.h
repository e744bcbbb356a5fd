#ifndef GYRE_THREADING_LOOP_DUMP_H_
#define GYRE_THREADING_LOOP_DUMP_H_

#include <chrono>
#include <span>
#include <string>

#include "gyre/loop/io_loop.h"

namespace gyre {

// How long a dump waits for the loops: longer than a loop that works should ever be away.
inline constexpr std::chrono::seconds kDumpLimit{1};

// IOLoop::dump() of each, in the order of `loops`; each is taken on its loop's own thread, all at
// the same time. It waits for all of them together, `limit` at most: of a loop that has not
// answered by then it tells the name and the callback that it is in; of one that is closed, does
// not run or stops meanwhile, just that. Called on the thread of one of them it holds that loop up.
// The loops have to live until it returns. Any thread.
std::string dump_loops(std::span<IOLoop* const> loops, std::chrono::nanoseconds limit = kDumpLimit);

}  // namespace gyre

#endif  // GYRE_THREADING_LOOP_DUMP_H_
