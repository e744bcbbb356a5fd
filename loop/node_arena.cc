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

namespace {

// Free chunks, for all threads. One lock per about a hundred posts.
template <class Chunk>
class ChunkPool {
 public:
  Chunk* take() {
    MutexLock lock(mutex_);
    Chunk* chunk = free_;
    if (chunk == nullptr) return nullptr;
    free_ = chunk->next_free;
    --count_;
    return chunk;
  }

  // False: full, the chunk is still the caller's.
  bool give(Chunk* chunk) {
    MutexLock lock(mutex_);
    if (count_ == kMaxChunks) return false;
    chunk->next_free = free_;
    free_ = chunk;
    ++count_;
    return true;
  }

 private:
  // 4 MiB: enough for every producer of a large machine to have a few on the way.
  static constexpr size_t kMaxChunks = 512;

  Mutex mutex_;
  Chunk* free_ ABSL_GUARDED_BY(mutex_) = nullptr;
  size_t count_ ABSL_GUARDED_BY(mutex_) = 0;
};

template <class Chunk>
ChunkPool<Chunk>& chunk_pool() {
  // Never destroyed: threads may outlive the static destructors.
  static auto* pool = new ChunkPool<Chunk>;
  return *pool;
}

template <class Chunk>
void recycle(Chunk* chunk) {
  if (chunk_pool<Chunk>().give(chunk)) return;
  chunk->~Chunk();
  std::free(chunk);
}

}  // namespace

void* NodeArena::allocate_slowly(size_t bytes) {
  GYRE_CHECK(bytes <= kMaxNodeBytes, "a callback node of %d bytes is too large", bytes);
  retire_current();
  Chunk* chunk = chunk_pool<Chunk>().take();
  if (chunk == nullptr) {
    void* memory = std::aligned_alloc(kChunkBytes, kChunkBytes);
    if (memory == nullptr) {
#if defined(__cpp_exceptions)
      throw std::bad_alloc();
#else
      GYRE_CHECK(false, "out of memory for a callback");
#endif
    }
    chunk = ::new (memory) Chunk;
  }
  chunk->balance.store(0, std::memory_order_relaxed);
  chunk->allocated = 1;
  chunk->released = 0;
  char* node = chunk->begin();
  if (state_.exiting) {
    // A post from a destructor that runs after the hook: a chunk for this node alone.
    chunk->allocated = 0;
    chunk->balance.store(1, std::memory_order_relaxed);
    return node;
  }
  static thread_local ExitHook hook;
  static_cast<void>(&hook);
  state_ = {node + bytes, chunk->end(), chunk, false};
  return node;
}

// Adds what the owner knows; whoever brings the balance to zero recycles the chunk. Acquire and
// release: all uses of the chunk's nodes, by any thread, come before its next life.
void NodeArena::retire_current() {
  Chunk* chunk = state_.current;
  if (chunk == nullptr) return;
  state_.current = nullptr;
  state_.next = state_.end = nullptr;
  const int32_t mine = chunk->allocated - chunk->released;
  if (chunk->balance.fetch_add(mine, std::memory_order_acq_rel) + mine == 0) recycle(chunk);
}

void NodeArena::release_remote(Chunk* chunk, int32_t count) {
  if (chunk->balance.fetch_sub(count, std::memory_order_acq_rel) == count) recycle(chunk);
}

void NodeArena::release_one(void* node) {
  NodeReleaser releaser;
  releaser.release(node);
}

}  // namespace gyre::internal
