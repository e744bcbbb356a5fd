#include "gyre/loop/node_arena.h"

#include <cstdlib>
#include <new>

#include "gyre/loop/log.h"
#include "gyre/loop/mutex.h"

namespace gyre::internal {

constinit thread_local NodeArena::State NodeArena::state_;

// Retires the thread's chunk when the thread ends.
struct NodeArena::ExitHook {
  ~ExitHook() {
    retire_current();
    state_.exiting = true;
  }
};

// Memory for many chunks, from the system and back to it in one piece.
struct NodeArena::Slab {
  char* memory;
  size_t bytes;
  Chunk* free = nullptr;
  size_t free_chunks = 0;
  Slab* previous = nullptr;
  Slab* next = nullptr;

  size_t chunks() const { return bytes / kChunkBytes; }
};

// Free chunks, for all threads. One lock per about two hundred posts.
class NodeArena::ChunkPool {
 public:
  // nullptr: out of memory.
  Chunk* take() {
    MutexLock lock(mutex_);
    // Those in use come first, so that the others may become free as a whole.
    Slab* slab = first_;
    if (slab == nullptr || slab->free == nullptr) slab = add_slab();
    if (slab == nullptr) return nullptr;
    Chunk* chunk = slab->free;
    slab->free = chunk->next_free;
    --slab->free_chunks;
    free_bytes_ -= kChunkBytes;
    if (slab->free == nullptr) {
      unlink(slab);
      push_back(slab);
    }
    return chunk;
  }

  void give(Chunk* chunk) {
    MutexLock lock(mutex_);
    Slab* slab = chunk->slab;
    chunk->next_free = slab->free;
    slab->free = chunk;
    free_bytes_ += kChunkBytes;
    if (++slab->free_chunks == slab->chunks() && free_bytes_ > kMaxFreeBytes) {
      unlink(slab);
      total_bytes_ -= slab->bytes;
      free_bytes_ -= slab->bytes;
      std::free(slab->memory);
      delete slab;
    } else if (slab->free_chunks == 1) {
      unlink(slab);
      push_front(slab);
    }
  }

 private:
  // What is kept for the next burst: 400,000 posts of two words.
  static constexpr size_t kMaxFreeBytes = size_t{16} << 20;
  // A process that posts little stays small; one that posts much asks the system rarely. Not for
  // huge pages: where a hypervisor takes back the free ones, a new one costs more than its 512
  // small ones.
  static constexpr size_t kSmallSlab = size_t{64} << 10;
  static constexpr size_t kLargeSlab = size_t{2} << 20;
  static constexpr size_t kSmallTotal = size_t{1} << 20;

  Slab* add_slab() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    const size_t bytes = total_bytes_ < kSmallTotal ? kSmallSlab : kLargeSlab;
    char* memory = static_cast<char*>(std::aligned_alloc(kChunkBytes, bytes));
    auto* slab = memory == nullptr ? nullptr : new (std::nothrow) Slab{memory, bytes};
    if (slab == nullptr) {
      std::free(memory);
      return nullptr;
    }
    for (size_t i = slab->chunks(); i-- > 0;) {
      auto* chunk = ::new (memory + i * kChunkBytes) Chunk;
      chunk->slab = slab;
      chunk->next_free = slab->free;
      slab->free = chunk;
    }
    slab->free_chunks = slab->chunks();
    total_bytes_ += bytes;
    free_bytes_ += bytes;
    push_front(slab);
    return slab;
  }

  void unlink(Slab* slab) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    (slab->previous != nullptr ? slab->previous->next : first_) = slab->next;
    (slab->next != nullptr ? slab->next->previous : last_) = slab->previous;
    slab->previous = slab->next = nullptr;
  }
  void push_front(Slab* slab) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    slab->next = first_;
    (first_ != nullptr ? first_->previous : last_) = slab;
    first_ = slab;
  }
  void push_back(Slab* slab) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    slab->previous = last_;
    (last_ != nullptr ? last_->next : first_) = slab;
    last_ = slab;
  }

  Mutex mutex_;
  // All slabs; those without a free chunk are at the end.
  Slab* first_ ABSL_GUARDED_BY(mutex_) = nullptr;
  Slab* last_ ABSL_GUARDED_BY(mutex_) = nullptr;
  size_t total_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  size_t free_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
};

NodeArena::ChunkPool& NodeArena::pool() {
  // Never destroyed: threads may outlive the static destructors.
  static auto* pool = new ChunkPool;
  return *pool;
}

void* NodeArena::allocate_slowly(size_t bytes) {
  GYRE_CHECK(bytes <= kMaxNodeBytes, "a callback node of %d bytes is too large", bytes);
  retire_current();
  Chunk* chunk = pool().take();
  if (chunk == nullptr) {
#if defined(__cpp_exceptions)
    throw std::bad_alloc();
#else
    GYRE_CHECK(false, "out of memory for a callback");
#endif
  }
  chunk->balance.store(0, std::memory_order_relaxed);
  char* node = chunk->begin();
  if (state_.exiting) {
    // A post from a destructor that runs after the hook: a chunk for this node alone.
    chunk->balance.store(1, std::memory_order_relaxed);
    return node;
  }
  static thread_local ExitHook hook;
  static_cast<void>(&hook);
  state_ = {node + bytes, chunk->end(), chunk, 1, 0, false};
  return node;
}

// Adds what the owner knows; whoever brings the balance to zero gives the chunk back. Acquire and
// release: all uses of the chunk's nodes, by any thread, come before its next life.
void NodeArena::retire_current() {
  Chunk* chunk = state_.current;
  if (chunk == nullptr) return;
  const int32_t mine = state_.allocated - state_.released;
  state_ = {};
  if (chunk->balance.fetch_add(mine, std::memory_order_acq_rel) + mine == 0) pool().give(chunk);
}

void NodeArena::release_remote(Chunk* chunk, int32_t count) {
  if (chunk->balance.fetch_sub(count, std::memory_order_acq_rel) == count) pool().give(chunk);
}

void NodeArena::release_one(void* node) {
  NodeReleaser releaser;
  releaser.release(node);
}

}  // namespace gyre::internal
