#ifndef GYRE_NET_IO_STREAM_OPTIONS_H_
#define GYRE_NET_IO_STREAM_OPTIONS_H_

#include "gyre/loop/cxx20.h"  // before all else

#include <chrono>
#include <cstddef>

namespace gyre {

// What becomes of a write beyond IOStreamOptions::max_write_buffer_size.
enum class WriteOverflow {
  kClose,  // it fails, and the stream closes: the peer does not read
  kFail,   // it fails alone: nothing of it is sent, and the stream goes on
};

// The limits of a stream. Streams of one loop with the same options share one copy of them.
struct IOStreamOptions {
  // What a read may collect before it is answered, and a read callback may leave. Beyond it the
  // stream closes: ResourceExhausted.
  size_t max_buffer_size = 100 * 1024 * 1024;
  // What may wait to be sent. A write that would add to it beyond this fails: ResourceExhausted.
  // (A single write is taken whole while nothing waits.)
  size_t max_write_buffer_size = 64 * 1024 * 1024;
  WriteOverflow on_write_overflow = WriteOverflow::kClose;
  // What the peer's end means: a shutdown(2) of its sending, or a close, which look alike.
  // false: it is gone, as in Tornado. The stream closes once what was written by then is sent, so
  // that nobody is kept for a peer that has left. Whoever is at an answer then, say a coroutine
  // that awaits something else, writes it in vain: Cancelled.
  // true: it has finished asking, and may wait for answers. A read callback is told with no bytes,
  // a read_* with OutOfRange, and the stream stays open for writing: close() it, also where a
  // coroutine ends.
  bool allow_half_close = false;

  // Timeouts. Zero: none. They are coarse, about a quarter of a second late, and cost nothing to
  // keep. A stream whose time is over closes with DeadlineExceeded, and the reason names the
  // timeout.

  // Nothing was received, and the kernel took nothing to send, for so long.
  std::chrono::nanoseconds idle_timeout{0};
  // One read_* was not answered for so long since it was asked for, however many bytes trickled in.
  std::chrono::nanoseconds read_timeout{0};
  // The kernel took nothing of what waits to be sent for so long.
  std::chrono::nanoseconds write_timeout{0};
  // IOStream::connect() has no connection after so long.
  std::chrono::nanoseconds connect_timeout{0};

  friend bool operator==(const IOStreamOptions&, const IOStreamOptions&) = default;
};

}  // namespace gyre

#endif  // GYRE_NET_IO_STREAM_OPTIONS_H_
