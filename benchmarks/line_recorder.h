#ifndef GYRE_BENCHMARKS_LINE_RECORDER_H_
#define GYRE_BENCHMARKS_LINE_RECORDER_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace gyre::benchmarks {

// What one thread did with one cache line. A mask has bit i for byte i of the line; `reader` and
// `writer` are code that did it, right behind the call of its hook.
struct LineUse {
  static constexpr uintptr_t kBytes = 64;

  uintptr_t line = 0;  // its address; 0: none
  uint64_t read = 0;
  uint64_t written = 0;
  const void* reader = nullptr;
  const void* writer = nullptr;
};

// The cache lines that one thread touches while the window is open, as the hooks of
// access_hooks.cc tell them. The memory for them is there before.
class LineRecorder {
 public:
  LineRecorder();
  LineRecorder(const LineRecorder&) = delete;
  LineRecorder& operator=(const LineRecorder&) = delete;

  // From here on it is the calling thread's.
  void attach();

  // For all recorders. Any thread.
  static void open_window();
  static void close_window();

  // Once the thread has ended.
  uint64_t accesses() const { return accesses_; }
  bool overflowed() const { return overflowed_; }  // there were more lines than it has room for
  std::vector<LineUse> lines() const;

 private:
  friend void record_read(const volatile void*, size_t, const void*);
  friend void record_write(const volatile void*, size_t, const void*);

  static LineRecorder* recording();
  LineUse* find(uintptr_t line);
  void record(const volatile void* address, size_t size, const void* code, uint64_t LineUse::*mask,
              const void* LineUse::*first);

  std::unique_ptr<LineUse[]> uses_;  // a hash table with open addressing
  uint64_t accesses_ = 0;
  bool overflowed_ = false;
};

// The hooks' calls. They do nothing in a thread without a recorder, or while the window is closed.
void record_read(const volatile void* address, size_t size, const void* code);
void record_write(const volatile void* address, size_t size, const void* code);

}  // namespace gyre::benchmarks

#endif  // GYRE_BENCHMARKS_LINE_RECORDER_H_
