#include "gyre/benchmarks/allocation_count.h"

#include <atomic>
#include <cerrno>
#include <cstdlib>

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define GYRE_BENCH_SANITIZER 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define GYRE_BENCH_SANITIZER 1
#endif
#if defined(__GLIBC__) && !defined(GYRE_BENCH_SANITIZER)
#define GYRE_BENCH_COUNTS_ALLOCATIONS 1
#include <malloc.h>
#endif

namespace gyre::bench {
namespace {

// Off while times are measured: the count is a line that all threads share.
constinit std::atomic<bool> g_counting{false};
constinit std::atomic<uint64_t> g_allocations{0};

#if defined(GYRE_BENCH_COUNTS_ALLOCATIONS)
void count_one() {
  if (g_counting.load(std::memory_order_relaxed))
    g_allocations.fetch_add(1, std::memory_order_relaxed);
}
#endif

}  // namespace

AllocationCount::AllocationCount() {
  g_allocations.store(0);
  g_counting.store(true);
}

AllocationCount::~AllocationCount() { g_counting.store(false); }

std::optional<uint64_t> AllocationCount::get() const {
#if defined(GYRE_BENCH_COUNTS_ALLOCATIONS)
  return g_allocations.load();
#else
  return std::nullopt;
#endif
}

#if defined(GYRE_BENCH_COUNTS_ALLOCATIONS)
namespace {

int64_t allocated_bytes() {
  const struct mallinfo2 info = mallinfo2();
  return static_cast<int64_t>(info.uordblks + info.hblkhd);
}

}  // namespace

AllocatedBytes::AllocatedBytes() : before_(allocated_bytes()) {}
std::optional<int64_t> AllocatedBytes::growth() const { return allocated_bytes() - before_; }
#else
AllocatedBytes::AllocatedBytes() = default;
std::optional<int64_t> AllocatedBytes::growth() const { return std::nullopt; }
#endif

}  // namespace gyre::bench

#if defined(GYRE_BENCH_COUNTS_ALLOCATIONS)
// The program's own definitions take the place of glibc's, for its libraries too ("Replacing
// malloc" in glibc's manual); free() knows the memory of these.
extern "C" {

void* __libc_malloc(size_t bytes);
void* __libc_calloc(size_t count, size_t bytes);
void* __libc_realloc(void* memory, size_t bytes);
void* __libc_memalign(size_t alignment, size_t bytes);

void* malloc(size_t bytes) {
  gyre::bench::count_one();
  return __libc_malloc(bytes);
}
void* calloc(size_t count, size_t bytes) {
  gyre::bench::count_one();
  return __libc_calloc(count, bytes);
}
void* realloc(void* memory, size_t bytes) {
  gyre::bench::count_one();
  return __libc_realloc(memory, bytes);
}
void* aligned_alloc(size_t alignment, size_t bytes) {
  gyre::bench::count_one();
  return __libc_memalign(alignment, bytes);
}
int posix_memalign(void** memory, size_t alignment, size_t bytes) {
  gyre::bench::count_one();
  *memory = __libc_memalign(alignment, bytes);
  return *memory == nullptr ? ENOMEM : 0;
}

}  // extern "C"
#endif
