#ifndef GYRE_LOOP_POLLER_SELECT_POLLER_H_
#define GYRE_LOOP_POLLER_SELECT_POLLER_H_

#include <poll.h>
#include <sys/select.h>

#include <climits>
#include <cstddef>
#include <memory>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "gyre/loop/poller/poller.h"
#include "gyre/loop/unique_fd.h"

namespace gyre::internal {

// The numbers that a select(2) can be asked about: below this one. Linux takes its sets as arrays
// of words of any length, the others' libraries stop at fd_set.
#if defined(__linux__)
inline constexpr int kSelectFdLimit = INT_MAX;
#else
inline constexpr int kSelectFdLimit = FD_SETSIZE;
#endif

// A set of fds as select(2) reads it, but as long as its members need. FD_SET writes wherever the
// number points, and a fortified one aborts past FD_SETSIZE.
class FdSet {
 public:
  using Word = unsigned long;
  static constexpr int kWordBits = sizeof(Word) * CHAR_BIT;

  // Room for the fds below `limit`; those that are new are not in it.
  void resize(int limit) { words_.resize((limit + kWordBits - 1) / kWordBits); }
  void clear() { words_.assign(words_.size(), 0); }

  bool contains(int fd) const { return word_of(fd) >> fd % kWordBits & 1; }
  void insert(int fd) { words_[fd / kWordBits] |= Word{1} << fd % kWordBits; }
  void erase(int fd) { words_[fd / kWordBits] &= ~(Word{1} << fd % kWordBits); }
  // That of fd, with its neighbours.
  Word word_of(int fd) const { return words_[fd / kWordBits]; }

  fd_set* get() { return reinterpret_cast<fd_set*>(words_.data()); }

 private:
  std::vector<Word> words_;
};

// select(2), the portable reference, and a pipe for the wake-up.
class SelectPoller final : public Poller {
 public:
  // `fd_limit`: for tests of what a platform with short sets does.
  static absl::StatusOr<std::unique_ptr<Poller>> create_with_limit(int fd_limit);
  static absl::StatusOr<std::unique_ptr<Poller>> create() {
    return create_with_limit(kSelectFdLimit);
  }

  std::string_view name() const override { return "select"; }
  absl::Status add(int fd, uint32_t interest, uint64_t token, Trigger trigger) override;
  absl::Status modify(int fd, uint32_t interest, uint64_t token, Trigger trigger) override;
  absl::Status remove(int fd) override;
  absl::Status reset() override;
  WaitResult wait(std::chrono::nanoseconds timeout) override;
  void wake() noexcept override;

 private:
  struct Registration {
    uint64_t token = 0;
    uint32_t interest = PollEvents::kNone;
    bool active = false;
  };

  SelectPoller(UniqueFd read_end, UniqueFd write_end, int fd_limit);

  bool watches(int fd) const;
  void make_room_for(int fd);
  void watch(int fd, uint32_t interest);
  void forget_closed_fds();
  void drain_wakes();
  size_t find_ready(pollfd* ready);
  void collect();

  const int fd_limit_;
  UniqueFd wake_read_;
  UniqueFd wake_write_;
  std::vector<Registration> registrations_;  // by fd; the sets have room for as many
  FdSet read_;
  FdSet write_;
  FdSet readable_;  // what the last wait found
  FdSet writable_;
  int watched_limit_ = 0;  // above the highest fd that is watched
  int scan_start_ = 0;     // turns, so that a full batch starves nobody
  std::vector<Event> events_;
};

}  // namespace gyre::internal

#endif  // GYRE_LOOP_POLLER_SELECT_POLLER_H_
