// What g++ -fsanitize=thread makes of each load, store and atomic operation: a call of one of these
// hooks, which are libtsan's in the programs that look for races. Here they tell a LineRecorder.
// Atomic operations are sequentially consistent whatever they ask for; a compare-and-exchange that
// fails counts as a write, since it takes the line from others all the same.
//
// g++ has no hooks for the copies that it leaves to the C library, nor for what the kernel writes
// and reads for the thread: the linker's --wrap leads those calls here (see BUILD.bazel).

#include <signal.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <time.h>

#include <cstddef>
#include <cstdint>

#include "gyre/benchmarks/line_recorder.h"

using gyre::benchmarks::record_read;
using gyre::benchmarks::record_write;

// The code behind the call of a hook.
#define GYRE_CALLER __builtin_return_address(0)

extern "C" {

void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}

// ---- Plain loads and stores

#define GYRE_PLAIN_HOOKS(SIZE)                                                                 \
  void __tsan_read##SIZE(void* address) { record_read(address, SIZE, GYRE_CALLER); }           \
  void __tsan_write##SIZE(void* address) { record_write(address, SIZE, GYRE_CALLER); }         \
  void __tsan_unaligned_read##SIZE(void* address) { record_read(address, SIZE, GYRE_CALLER); } \
  void __tsan_unaligned_write##SIZE(void* address) { record_write(address, SIZE, GYRE_CALLER); }

GYRE_PLAIN_HOOKS(1)
GYRE_PLAIN_HOOKS(2)
GYRE_PLAIN_HOOKS(4)
GYRE_PLAIN_HOOKS(8)
GYRE_PLAIN_HOOKS(16)

void __tsan_read_range(void* address, size_t size) { record_read(address, size, GYRE_CALLER); }
void __tsan_write_range(void* address, size_t size) { record_write(address, size, GYRE_CALLER); }
void __tsan_vptr_update(void** address, void*) {
  record_write(address, sizeof(*address), GYRE_CALLER);
}

// ---- Atomic operations

#define GYRE_FETCH_HOOK(BITS, NAME)                                                               \
  uint##BITS##_t __tsan_atomic##BITS##_fetch_##NAME(volatile void* address, uint##BITS##_t value, \
                                                    int) {                                        \
    record_write(address, sizeof(value), GYRE_CALLER);                                            \
    return __atomic_fetch_##NAME(static_cast<volatile uint##BITS##_t*>(address), value,           \
                                 __ATOMIC_SEQ_CST);                                               \
  }

#define GYRE_COMPARE_HOOK(BITS, NAME)                                                        \
  bool __tsan_atomic##BITS##_compare_exchange_##NAME(volatile void* address, void* expected, \
                                                     uint##BITS##_t value, int, int) {       \
    record_write(address, sizeof(value), GYRE_CALLER);                                       \
    return __atomic_compare_exchange_n(static_cast<volatile uint##BITS##_t*>(address),       \
                                       static_cast<uint##BITS##_t*>(expected), value, false, \
                                       __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);                  \
  }

#define GYRE_ATOMIC_HOOKS(BITS)                                                                \
  uint##BITS##_t __tsan_atomic##BITS##_load(const volatile void* address, int) {               \
    record_read(address, BITS / 8, GYRE_CALLER);                                               \
    return __atomic_load_n(static_cast<const volatile uint##BITS##_t*>(address),               \
                           __ATOMIC_SEQ_CST);                                                  \
  }                                                                                            \
  void __tsan_atomic##BITS##_store(volatile void* address, uint##BITS##_t value, int) {        \
    record_write(address, sizeof(value), GYRE_CALLER);                                         \
    __atomic_store_n(static_cast<volatile uint##BITS##_t*>(address), value, __ATOMIC_SEQ_CST); \
  }                                                                                            \
  uint##BITS##_t __tsan_atomic##BITS##_exchange(volatile void* address, uint##BITS##_t value,  \
                                                int) {                                         \
    record_write(address, sizeof(value), GYRE_CALLER);                                         \
    return __atomic_exchange_n(static_cast<volatile uint##BITS##_t*>(address), value,          \
                               __ATOMIC_SEQ_CST);                                              \
  }                                                                                            \
  GYRE_FETCH_HOOK(BITS, add)                                                                   \
  GYRE_FETCH_HOOK(BITS, sub)                                                                   \
  GYRE_FETCH_HOOK(BITS, and)                                                                   \
  GYRE_FETCH_HOOK(BITS, or)                                                                    \
  GYRE_FETCH_HOOK(BITS, xor)                                                                   \
  GYRE_FETCH_HOOK(BITS, nand)                                                                  \
  GYRE_COMPARE_HOOK(BITS, strong)                                                              \
  GYRE_COMPARE_HOOK(BITS, weak)

GYRE_ATOMIC_HOOKS(8)
GYRE_ATOMIC_HOOKS(16)
GYRE_ATOMIC_HOOKS(32)
GYRE_ATOMIC_HOOKS(64)

void __tsan_atomic_thread_fence(int) { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
void __tsan_atomic_signal_fence(int) { __atomic_signal_fence(__ATOMIC_SEQ_CST); }

// ---- The C library's copies, and the kernel's

void* __real_memcpy(void* to, const void* from, size_t size);
void* __real_memmove(void* to, const void* from, size_t size);
void* __real_memset(void* to, int byte, size_t size);
ssize_t __real_recv(int fd, void* buffer, size_t size, int flags);
ssize_t __real_send(int fd, const void* buffer, size_t size, int flags);
int __real_epoll_wait(int fd, epoll_event* events, int size, int timeout);
int __real_epoll_pwait2(int fd, epoll_event* events, int size, const timespec* timeout,
                        const sigset_t* mask);

void* __wrap_memcpy(void* to, const void* from, size_t size) {
  record_read(from, size, GYRE_CALLER);
  record_write(to, size, GYRE_CALLER);
  return __real_memcpy(to, from, size);
}

void* __wrap_memmove(void* to, const void* from, size_t size) {
  record_read(from, size, GYRE_CALLER);
  record_write(to, size, GYRE_CALLER);
  return __real_memmove(to, from, size);
}

void* __wrap_memset(void* to, int byte, size_t size) {
  record_write(to, size, GYRE_CALLER);
  return __real_memset(to, byte, size);
}

ssize_t __wrap_recv(int fd, void* buffer, size_t size, int flags) {
  const ssize_t received = __real_recv(fd, buffer, size, flags);
  if (received > 0) record_write(buffer, static_cast<size_t>(received), GYRE_CALLER);
  return received;
}

ssize_t __wrap_send(int fd, const void* buffer, size_t size, int flags) {
  record_read(buffer, size, GYRE_CALLER);
  return __real_send(fd, buffer, size, flags);
}

int __wrap_epoll_wait(int fd, epoll_event* events, int size, int timeout) {
  const int ready = __real_epoll_wait(fd, events, size, timeout);
  if (ready > 0) record_write(events, static_cast<size_t>(ready) * sizeof(*events), GYRE_CALLER);
  return ready;
}

int __wrap_epoll_pwait2(int fd, epoll_event* events, int size, const timespec* timeout,
                        const sigset_t* mask) {
  const int ready = __real_epoll_pwait2(fd, events, size, timeout, mask);
  if (ready > 0) record_write(events, static_cast<size_t>(ready) * sizeof(*events), GYRE_CALLER);
  return ready;
}

}  // extern "C"
