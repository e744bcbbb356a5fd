// Counts what a program takes from the heap. Loaded in front of the C library (LD_PRELOAD); the
// count is in the first eight bytes of the file GYRE_COUNT_FILE, which has at least that many, and
// may be read at any time.

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstdlib>

// glibc's own, which it has for this purpose (mallopt's manual: "replacing malloc").
extern "C" {
void* __libc_malloc(size_t size);
void* __libc_calloc(size_t count, size_t size);
void* __libc_realloc(void* memory, size_t size);
void* __libc_memalign(size_t alignment, size_t size);
}

namespace {

// Before the file is mapped, and where there is none.
std::atomic<uint64_t> own_count{0};
std::atomic<std::atomic<uint64_t>*> count{&own_count};

__attribute__((constructor)) void map_file() {
  const char* path = std::getenv("GYRE_COUNT_FILE");
  if (path == nullptr) return;
  const int fd = ::open(path, O_RDWR | O_CLOEXEC);
  if (fd < 0) return;
  void* memory = ::mmap(nullptr, sizeof(own_count), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  ::close(fd);
  if (memory != MAP_FAILED) count.store(static_cast<std::atomic<uint64_t>*>(memory));
}

void count_one() { count.load(std::memory_order_relaxed)->fetch_add(1, std::memory_order_relaxed); }

}  // namespace

extern "C" {

void* malloc(size_t size) {
  count_one();
  return __libc_malloc(size);
}
void* calloc(size_t number, size_t size) {
  count_one();
  return __libc_calloc(number, size);
}
void* realloc(void* memory, size_t size) {
  count_one();
  return __libc_realloc(memory, size);
}
void* memalign(size_t alignment, size_t size) {
  count_one();
  return __libc_memalign(alignment, size);
}
void* aligned_alloc(size_t alignment, size_t size) { return memalign(alignment, size); }
int posix_memalign(void** memory, size_t alignment, size_t size) {
  *memory = memalign(alignment, size);
  return *memory != nullptr ? 0 : ENOMEM;
}

}  // extern "C"
