// What an open connection takes of the heap while nothing happens on it. Every operator new of this
// program is counted.

#include <malloc.h>
#include <sys/socket.h>

#include <chrono>
#include <cstddef>
#include <cstdlib>
#include <memory>
#include <new>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "gyre/loop/idle_timeout.h"
#include "gyre/loop/io_loop.h"
#include "gyre/net/io_stream.h"

namespace {

int64_t live_bytes = 0;

void* allocate(size_t size, size_t alignment = alignof(std::max_align_t)) {
  // aligned_alloc(3) wants a multiple of the alignment.
  void* memory = std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
  if (memory == nullptr) std::abort();
  live_bytes += static_cast<int64_t>(::malloc_usable_size(memory));
  return memory;
}
void release(void* memory) {
  live_bytes -= static_cast<int64_t>(::malloc_usable_size(memory));
  std::free(memory);
}

}  // namespace

void* operator new(size_t size) { return allocate(size); }
void* operator new[](size_t size) { return allocate(size); }
void* operator new(size_t size, std::align_val_t alignment) {
  return allocate(size, static_cast<size_t>(alignment));
}
void* operator new[](size_t size, std::align_val_t alignment) {
  return allocate(size, static_cast<size_t>(alignment));
}
void operator delete(void* memory) noexcept { release(memory); }
void operator delete[](void* memory) noexcept { release(memory); }
void operator delete(void* memory, size_t) noexcept { release(memory); }
void operator delete[](void* memory, size_t) noexcept { release(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { release(memory); }
void operator delete[](void* memory, std::align_val_t) noexcept { release(memory); }
void operator delete(void* memory, size_t, std::align_val_t) noexcept { release(memory); }
void operator delete[](void* memory, size_t, std::align_val_t) noexcept { release(memory); }

namespace gyre::testing {
namespace {

class ConnectionBytes : public ::testing::Test {
 protected:
  // Each with a read callback, a close callback and an idle timeout, and one request answered.
  void connect_up_to(size_t count) {
    while (peers_.size() < count) {
      int fds[2];
      ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
      peers_.emplace_back(fds[1]);
      auto stream = IOStream::create(*loop_, UniqueFd(fds[0])).value();
      auto idle = std::make_unique<IdleTimeout>(*loop_, [] {});
      idle->start(std::chrono::hours(1));
      stream->set_close_callback([this](const absl::Status&) { ++closed_; });
      IOStream* const connection = stream.get();
      stream
          ->set_read_callback([this, connection, idle = std::move(idle)](std::string_view bytes) {
            idle->touch();
            connection->write(bytes);
            loop_->stop();
          })
          .IgnoreError();
      ASSERT_EQ(::send(fds[1], "x", 1, 0), 1);
      ASSERT_TRUE(loop_->start().ok());
    }
  }

  std::unique_ptr<IOLoop> loop_ = IOLoop::create().value();
  std::vector<UniqueFd> peers_;
  int closed_ = 0;
};

TEST_F(ConnectionBytes, StayWithinTheirBudget) {
  // Both are powers of two, so that tables that double are as full in the end as before.

  constexpr size_t kFew = 128, kMany = 256;
  peers_.reserve(kMany);
  connect_up_to(kFew);
  const int64_t before = live_bytes;
  connect_up_to(kMany);
  const double each = static_cast<double>(live_bytes - before) / (kMany - kFew);
  RecordProperty("bytes_per_connection", std::to_string(each));
  EXPECT_GT(each, 64) << "nothing was counted";
  EXPECT_LE(each, 512);
  EXPECT_EQ(closed_, 0);
}

}  // namespace
}  // namespace gyre::testing
