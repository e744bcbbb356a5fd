#!/usr/bin/env bash
# Tests run in virtual time (docs/testing.md): what waits for the real clock, or looks at it, is on
# this list, with the reason. tests/guards and tests/integration run whole programs, in real time.
source tests/lint/lint.sh

folders=(tests/examples tests/loop tests/net tests/support tests/testing tests/threading)

# What says that a test waits by itself, or looks at a clock of the machine's.
waits='this_thread::sleep_(for|until)|\b(u|nano)?sleep\([^)]|(steady|system|high_resolution)_clock::now\(|\bClock::now\(|\.wait_(for|until)\(|\bclock_gettime\(|TestTime::kReal\b|MonotonicClock::steady\('
# A fixture on a real backend is in real time unless it says otherwise.
waits+='|\.backend = [^,}]*\}\}'
# The loops of a pool have the kernel's clock, so a short time there passes. An hour is a limit.
pools='\b(LoopPool|LoopThread)(Options)?\b|tcp_server_fixture\.h'
short='\b(nano|micro|milli)?seconds\([^0)]'

declare -A allowed reasons
# real FILE LINES REASON: at most so many lines of it.
real() { allowed[$1]=$2 reasons[$1]=$3; }

real tests/support/event.h 3 "how long a test waits for other threads before it fails"
real tests/support/loop_fixture.cc 1 "where a test's choice of its time is carried out"
real tests/support/kqueue_shim/kernel_queue.cc 2 "a double of a kernel: the timeout of kevent(2)"
real tests/testing/loop_fixture_test.cc 1 "the kit's own promise of real time on a real backend"

# The kernel's wait is what is tested.
real tests/loop/poller/epoll_poller_test.cc 2 "how exact epoll_pwait2(2) is"
real tests/loop/poller/poller_conformance.h 2 "that a backend's wait is not over before its time"
real tests/loop/io_loop_timeouts_test.cc 4 "the loop in the kernel's wait: early, spinning, EINTR, a deadline that comes later"
real tests/loop/coroutines/timer_scale_test.cc 2 "how late the kernel wakes a loop for its timers"
real tests/loop/coroutines/fairness_test.cc 5 "how late timers are beside a flood of another thread's; exact in TimeSlices"

# Another thread goes by the real clock, or races.
real tests/loop/io_loop_exceptions_test.cc 1 "the watchdog looks at a blocked thread, and asks for its stack"
real tests/loop/loop_parts_test.cc 1 "a moment of the watchdog, which goes by the real clock; nothing waits"
real tests/loop/run_sync_test.cc 2 "two threads that wake by themselves at the same moment; a loop that has stopped, beside one that sleeps"
real tests/loop/coroutines/combinators_across_loops_test.cc 1 "two threads that cut each other off, by chance"
real tests/loop/coroutines/time_limits_test.cc 1 "a thread that sets a future at the moment of its limit"

real tests/loop/loop_metrics_test.cc 5 "how long a post waited for a loop that is stuck, and how long that is away"

# Pools and servers: several threads with the kernel's clock.
real tests/loop/no_exceptions_test.cc 5 "a program without the kit, to be compiled without exceptions"
real tests/net/tcp_server_fixture.h 3 "counts of a pool's threads, which nobody announces"
real tests/net/tcp_server_stop_test.cc 1 "new connections while it drains, not too many"
real tests/net/acceptor_without_fds_test.cc 4 "the share of a CPU that it takes without fds"
real tests/net/tcp_server_test.cc 1 "a time that is none, which is refused"
real tests/threading/loop_dump_test.cc 9 "a dump that gives up waiting for a loop that is stuck; dumps under load"
real tests/threading/prometheus_test.cc 8 "how times are written; a page under load"
real tests/net/drain_soak_test.cc 3 "drains at random moments"

# Programs that measure, or run for as long as they are told.
real tests/loop/queue_stress.cc 2 "rounds for so many seconds"
real tests/loop/queue_stress_main.cc 3 "the same, and how many a second"
real tests/loop/model/explore_queue.cc 2 "how many states a second were explored"

used=()
for file in $(files '*.cc' "${folders[@]}") $(files '*.h' "${folders[@]}"); do
  pattern=$waits
  if [[ $file == *_test.cc ]] && grep -qE "$pools" "$file"; then pattern+="|$short"; fi
  lines=$(sed 's|//.*||' "$file" | grep -nE "$pattern" || true)
  [[ $lines ]] || continue
  used+=("$file")
  [[ $(wc -l <<<"$lines") -gt ${allowed[$file]:-0} ]] || continue
  complain "$(sed "s|^|$file:|; s|\$|   <- real time, not on the list of tests/lint/real_time_test.sh|" <<<"$lines")"
done

# A list that is longer than need be hides what is added.
for file in "${!allowed[@]}"; do
  [[ " ${used[*]} " == *" $file "* ]] || complain "tests/lint/real_time_test.sh: $file is in no real time any more"
done

finish
