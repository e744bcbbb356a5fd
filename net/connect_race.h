#ifndef GYRE_NET_CONNECT_RACE_H_
#define GYRE_NET_CONNECT_RACE_H_

#include <chrono>
#include <cstddef>
#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "gyre/loop/clock.h"
#include "gyre/net/socket_address.h"

namespace gyre::internal {

// The addresses in the order in which to try them: the families take turns, and the first one is
// that of the first address; within a family the order stays (RFC 8305, 4).
std::vector<SocketAddress> interleave_families(const std::vector<SocketAddress>& addresses);

struct ConnectRaceLimits {
  std::chrono::nanoseconds attempt_delay;                   // before the next one starts
  std::optional<std::chrono::nanoseconds> attempt_timeout;  // of each
  std::optional<std::chrono::nanoseconds> timeout;          // of all; see `began`
};

// Which address is tried when: happy eyeballs (RFC 8305, 5). An attempt starts when the one before
// it has failed, or has had attempt_delay of time; the first that succeeds wins, the others are
// given up. Pure: attempts are numbers, time is told to it.
//
//     waiting --kStart--> running --succeeded()--> won: kWon, and kStop for each that runs
//                                 --failed(), time-> failed; when all are: kLost
class ConnectRace {
 public:
  // `targets` are the names of the attempts for messages, in order. The time of all counts since
  // `began`, which may lie before the race: resolving takes time, too.
  ConnectRace(std::string what, std::vector<std::string> targets, ConnectRaceLimits limits,
              SteadyTime began);

  struct Action {
    enum Kind {
      kStart,  // begin the attempt, which may tell its result at once
      kStop,   // give the attempt up; it may have nothing to tell any more
      kWon,    // by the attempt. The last action
      kLost,   // outcome() says why. The last action
    };
    Kind kind;
    size_t attempt;
  };
  // What is to be done by `now`; to be asked after every event until there is nothing.
  std::optional<Action> next(SteadyTime now);

  // Events. Of an attempt that does not run they change nothing.
  void succeeded(size_t attempt);
  void failed(size_t attempt, absl::Status why);
  // Nobody wants the result any more: kStop for what runs, then kLost.
  void give_up(absl::Status why);

  // When next() has to be asked again though nothing has happened; nullopt: never.
  std::optional<SteadyTime> deadline() const;

  // Why it was lost: names every attempt and what became of it. Its code is that of the attempts if
  // it is the same for all, else Unavailable; DeadlineExceeded if the time of all was over.
  const absl::Status& outcome() const { return outcome_; }

 private:
  struct Attempt {
    std::string target;
    enum State { kWaiting, kRunning, kFailed, kStopped } state = kWaiting;
    SteadyTime started = {};
    absl::Status why = absl::OkStatus();
  };

  std::optional<SteadyTime> attempt_deadline(const Attempt& attempt) const;
  void expire(SteadyTime now);
  bool next_is_due(SteadyTime now) const;
  void lose();
  std::string report() const;

  const std::string what_;
  const ConnectRaceLimits limits_;
  const std::optional<SteadyTime> end_;  // of the time of all
  std::vector<Attempt> attempts_;
  std::deque<size_t> to_stop_;
  size_t started_ = 0;
  size_t running_ = 0;
  bool next_at_once_ = true;  // none has started, or the last one has failed
  std::optional<size_t> winner_;
  absl::Status outcome_;
  bool over_ = false;
};

}  // namespace gyre::internal

#endif  // GYRE_NET_CONNECT_RACE_H_
