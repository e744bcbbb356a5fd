#include "gyre/tests/support/allocation_count.h"

#include <array>
#include <cstdlib>
#include <new>

namespace gyre::testing {
namespace {

thread_local uint64_t all = 0;
thread_local std::array<uint64_t, 1024> of_size;

void* allocate(size_t size, size_t alignment = alignof(std::max_align_t)) {
  ++all;
  if (size < of_size.size()) ++of_size[size];
  // aligned_alloc(3) wants a multiple of the alignment.
  void* memory = std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
  if (memory == nullptr) std::abort();
  return memory;
}

}  // namespace

uint64_t allocations() { return all; }

uint64_t allocations_of_size(size_t bytes) { return of_size.at(bytes); }

}  // namespace gyre::testing

using gyre::testing::allocate;

void* operator new(size_t size) { return allocate(size); }
void* operator new[](size_t size) { return allocate(size); }
void* operator new(size_t size, std::align_val_t alignment) {
  return allocate(size, static_cast<size_t>(alignment));
}
void* operator new[](size_t size, std::align_val_t alignment) {
  return allocate(size, static_cast<size_t>(alignment));
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, size_t, std::align_val_t) noexcept { std::free(memory); }
void operator delete[](void* memory, size_t, std::align_val_t) noexcept { std::free(memory); }
