#ifndef GYRE_LOOP_NODE_ARENA_H_
#define GYRE_LOOP_NODE_ARENA_H_

#include "gyre/loop/cxx20.h"  // before all else

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "gyre/loop/cpu_hints.h"

namespace gyre::internal {

// Memory for callbacks in flight: taken by the thread that posts, given back by the one that runs.
//
// Each thread cuts its nodes from a chunk of its own, front to back, so a post costs an addition. A
// chunk counts the nodes that are still in use; when it is full and the count comes to zero it goes
// to a pool that all threads share and that keeps a bounded number of bytes. So a thread that only
// posts and one that only runs pass the same few chunks around, and the shared count is touched
// once per run of nodes (see NodeReleaser), not once per node. Nodes that come back to the thread
// that cut them, with the chunk still in use, cost no atomic operation at all.
//
// One node that waits for long keeps its whole chunk: what is meant to wait (a future's
// continuation, a timer) lives elsewhere.
class NodeArena {
 public:
  static constexpr size_t kChunkBytes = 8192;
  static constexpr size_t kAlignment = 8;
  static constexpr size_t kMaxAlignment = 16;
  static constexpr size_t kMaxNodeBytes = 128;

  // Any thread. Not signal-safe. `bytes` at most kMaxNodeBytes, `alignment` at most kMaxAlignment.
  static void* allocate(size_t bytes, size_t alignment = kAlignment) {
    State& state = state_;
    char* node = align(state.next, alignment);
    bytes = (bytes + kAlignment - 1) & ~(kAlignment - 1);
    if (static_cast<size_t>(state.end - node) < bytes) [[unlikely]]
      return allocate_slowly(bytes);
    state.next = node + bytes;
    ++state.allocated;
    prefetch_for_writing(node + kPrefetchBytes);
    return node;
  }

  // Any thread. Gives one node back; NodeReleaser is cheaper for many.
  static void release_one(void* node);

 private:
  friend class NodeReleaser;
  struct Slab;
  class ChunkPool;
  struct ExitHook;

  // A line of its own: who releases nodes writes it, who cuts them does not look at it.
  struct alignas(64) Chunk {
    // Nodes in use, less those that the owner counts itself. Starts at 0 and goes below as other
    // threads release; the owner adds its own balance when the chunk is full. Zero after that:
    // free.
    std::atomic<int32_t> balance{0};
    Slab* slab = nullptr;
    Chunk* next_free = nullptr;

    char* begin() { return reinterpret_cast<char*>(this) + sizeof(Chunk); }
    char* end() { return reinterpret_cast<char*>(this) + kChunkBytes; }
  };

  // Trivial, so that reaching it costs no initialization check.
  struct State {
    char* next = nullptr;
    char* end = nullptr;
    Chunk* current = nullptr;
    // Of the current chunk, by this thread.
    int32_t allocated = 0;
    int32_t released = 0;
    bool exiting = false;
  };

  // The lines that the nodes after the next ones will be written to are still in the cache of the
  // thread that ran what was there before. A post ends in a locked instruction, which waits for the
  // stores before it; asked for in time, the lines have come by then.
  static constexpr size_t kPrefetchBytes = 384;

  static char* align(char* p, size_t alignment) {
    return reinterpret_cast<char*>((reinterpret_cast<uintptr_t>(p) + alignment - 1) &
                                   ~(alignment - 1));
  }
  static Chunk* chunk_of(void* node) {
    return reinterpret_cast<Chunk*>(reinterpret_cast<uintptr_t>(node) & ~(kChunkBytes - 1));
  }
  static ChunkPool& pool();
  static void* allocate_slowly(size_t bytes);
  static void retire_current();
  static void release_remote(Chunk* chunk, int32_t count);

  static constinit thread_local State state_;
};

// Gives many nodes back, one atomic operation per run of nodes of the same chunk. For one scope.
class NodeReleaser {
 public:
  NodeReleaser() = default;
  NodeReleaser(const NodeReleaser&) = delete;
  NodeReleaser& operator=(const NodeReleaser&) = delete;
  ~NodeReleaser() { flush(); }

  void release(void* node) {
    NodeArena::Chunk* chunk = NodeArena::chunk_of(node);
    NodeArena::State& state = NodeArena::state_;
    if (chunk == state.current) {
      // The chunk starts over once all of its nodes are back.
      if (++state.released == state.allocated) {
        state.released = state.allocated = 0;
        state.next = chunk->begin();
      }
      return;
    }
    Run& run = runs_[(reinterpret_cast<uintptr_t>(chunk) / NodeArena::kChunkBytes) % kRuns];
    if (run.chunk != chunk) {
      if (run.chunk != nullptr) NodeArena::release_remote(run.chunk, run.count);
      run = {chunk, 0};
    }
    ++run.count;
  }

  void flush() {
    for (Run& run : runs_) {
      if (run.chunk != nullptr) NodeArena::release_remote(run.chunk, run.count);
      run = {};
    }
  }

 private:
  // The nodes of several producers come interleaved: a run for each of a few chunks.
  static constexpr size_t kRuns = 4;
  struct Run {
    NodeArena::Chunk* chunk = nullptr;
    int32_t count = 0;
  };
  Run runs_[kRuns];
};

}  // namespace gyre::internal

#endif  // GYRE_LOOP_NODE_ARENA_H_
