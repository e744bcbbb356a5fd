#ifndef GYRE_THREADING_LOOP_DUMP_H_
#define GYRE_THREADING_LOOP_DUMP_H_

#include <chrono>
#include <span>
#include <string>

#include "gyre/loop/io_loop.h"

namespace gyre {

// How long a dump waits for the loops: longer than a loop that works should ever be away.
inline constexpr std::chrono::seconds kDumpLimit{1};

// IOLoop::dump() of each, one after the other, taken on its own thread, all at once. It waits for
// `limit` together at most: a loop that has not answered by then is named, with what it is in; so
// is one that is closed, does not run, or stops meanwhile. Called on the thread of one of them it
// keeps that one waiting, too. The loops have to live until the return. Any thread.
std::string dump_loops(std::span<IOLoop* const> loops, std::chrono::nanoseconds limit = kDumpLimit);

}  // namespace gyre

#endif  // GYRE_THREADING_LOOP_DUMP_H_
