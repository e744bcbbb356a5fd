// No inline function of the standard library is called while recording: the linker might take the
// copy that has hooks, and each would record itself.

#include "gyre/benchmarks/line_recorder.h"

namespace gyre::benchmarks {
namespace {

constexpr size_t kSlots = 1 << 16;  // 4 MiB of lines

bool window_is_open = false;
thread_local LineRecorder* of_this_thread = nullptr;

// Bits for bytes `first` to `first + count - 1` of a line.
uint64_t bytes_mask(uintptr_t first, size_t count) {
  const uint64_t ones = count >= LineUse::kBytes ? ~uint64_t{0} : (uint64_t{1} << count) - 1;
  return ones << first;
}

}  // namespace

LineRecorder::LineRecorder() : uses_(new LineUse[kSlots]) {}

void LineRecorder::attach() { of_this_thread = this; }

// Relaxed: what else has to happen before, or after, is ordered by the sockets of those who ask.
void LineRecorder::open_window() { __atomic_store_n(&window_is_open, true, __ATOMIC_RELAXED); }
void LineRecorder::close_window() { __atomic_store_n(&window_is_open, false, __ATOMIC_RELAXED); }

LineRecorder* LineRecorder::recording() {
  return __atomic_load_n(&window_is_open, __ATOMIC_RELAXED) ? of_this_thread : nullptr;
}

// nullptr: the table is full.
LineUse* LineRecorder::find(uintptr_t line) {
  const size_t hash = static_cast<size_t>((line / LineUse::kBytes) * 0x9E3779B97F4A7C15u) >> 48;
  LineUse* const uses = &uses_[0];
  for (size_t i = 0; i < kSlots; ++i) {
    LineUse& use = uses[(hash + i) % kSlots];
    if (use.line == 0) use.line = line;
    if (use.line == line) return &use;
  }
  return nullptr;
}

void LineRecorder::record(const volatile void* address, size_t size, const void* code,
                          uint64_t LineUse::*mask, const void* LineUse::*first) {
  ++accesses_;
  uintptr_t at = reinterpret_cast<uintptr_t>(address);
  for (const uintptr_t end = at + size; at < end;) {
    const uintptr_t offset = at % LineUse::kBytes;
    const uintptr_t count =
        end - at < LineUse::kBytes - offset ? end - at : LineUse::kBytes - offset;
    LineUse* use = find(at - offset);
    if (use == nullptr) {
      overflowed_ = true;
      return;
    }
    use->*mask |= bytes_mask(offset, count);
    if (use->*first == nullptr) use->*first = code;
    at += count;
  }
}

std::vector<LineUse> LineRecorder::lines() const {
  std::vector<LineUse> lines;
  for (size_t i = 0; i < kSlots; ++i) {
    if (uses_[i].line != 0) lines.push_back(uses_[i]);
  }
  return lines;
}

void record_read(const volatile void* address, size_t size, const void* code) {
  if (LineRecorder* recorder = LineRecorder::recording()) {
    recorder->record(address, size, code, &LineUse::read, &LineUse::reader);
  }
}

void record_write(const volatile void* address, size_t size, const void* code) {
  if (LineRecorder* recorder = LineRecorder::recording()) {
    recorder->record(address, size, code, &LineUse::written, &LineUse::writer);
  }
}

}  // namespace gyre::benchmarks
