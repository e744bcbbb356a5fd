#ifndef GYRE_LOOP_CPU_HINTS_H_
#define GYRE_LOOP_CPU_HINTS_H_

namespace gyre::internal {

// Asks for the cache line of `address`, to write it. It need not be valid memory.
inline void prefetch_for_writing(const void* address) {
#if defined(__x86_64__)
  // __builtin_prefetch would ask for a copy to read. Older processors take it for a no-op.
  asm volatile("prefetchw (%0)" : : "r"(address));
#else
  __builtin_prefetch(address, 1);
#endif
}

// Tells the CPU that this loop waits for another thread.
inline void relax_cpu() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("isb");
#endif
}

}  // namespace gyre::internal

#endif  // GYRE_LOOP_CPU_HINTS_H_
