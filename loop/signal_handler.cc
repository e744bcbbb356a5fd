#include "gyre/loop/signal_handler.h"

#include <signal.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <thread>
#include <utility>

#include "absl/strings/str_format.h"
#include "gyre/loop/errno_status.h"
#include "gyre/loop/mutex.h"

namespace gyre {

// One handler. The signal's side reads atomics only; the rest is the table's or the loop's.
struct SignalHandler::Slot {
  std::atomic<int> signal{0};  // 0: free
  std::atomic<internal::CallbackQueue*> queue{nullptr};
  std::atomic<bool> queued{false};  // a delivery is on its way
  std::atomic<uint32_t> generation{0};
  SignalHandler* handler = nullptr;  // the loop's thread
  std::shared_ptr<internal::CallbackQueue> keep;
};

struct SignalHandler::Table {
  std::array<Slot, kMaxHandlers> slots;
  // Signal handlers that are looking at the slots right now.
  std::atomic<int> lookers{0};
  internal::Mutex mutex;
  std::array<int, NSIG> handlers ABSL_GUARDED_BY(mutex) = {};  // by signal
  std::array<struct sigaction, NSIG> former ABSL_GUARDED_BY(mutex);
};

// What is posted to the loop. It names the slot by number: a slot that was freed, or taken by
// another handler meanwhile, has another generation.
struct SignalHandler::Delivery {
  Slot* slot;
  uint32_t generation;
  int signal;

  void operator()() const {
    if (slot->generation.load(std::memory_order_relaxed) != generation) return;
    // Before the call: a signal that comes during it is another call.
    slot->queued.store(false, std::memory_order_release);
    const std::shared_ptr<Function> function = slot->handler->function_;
    (*function)(signal);
  }
};

SignalHandler::Table& SignalHandler::table() {
  // Made before the first handler is installed, and never destroyed: signals may come until the
  // end.
  static auto* table = new Table;
  return *table;
}

// Signal-safe: atomics, and the loop's own signal form.
void SignalHandler::on_signal(int signal) {
  const int saved_errno = errno;
  Table& table = SignalHandler::table();
  // Sequentially consistent with the destructor's look at `lookers` after it cleared the slot:
  // either it waits for this handler, or this handler finds the slot cleared.
  table.lookers.fetch_add(1, std::memory_order_seq_cst);
  for (Slot& slot : table.slots) {
    if (slot.signal.load(std::memory_order_seq_cst) != signal) continue;
    internal::CallbackQueue* queue = slot.queue.load(std::memory_order_seq_cst);
    if (queue == nullptr || slot.queued.exchange(true, std::memory_order_acq_rel)) continue;
    const Delivery delivery{&slot, slot.generation.load(std::memory_order_relaxed), signal};
    if (!queue->post_from_signal(delivery)) slot.queued.store(false, std::memory_order_release);
  }
  table.lookers.fetch_sub(1, std::memory_order_seq_cst);
  errno = saved_errno;
}

SignalHandler::SignalHandler(Function function)
    : function_(std::make_shared<Function>(std::move(function))) {}

absl::StatusOr<std::unique_ptr<SignalHandler>> SignalHandler::create(IOLoop& loop, int signal,
                                                                     Function function) {
  GYRE_CHECK(function, "SignalHandler: the callback is null");
  internal::LoopAccess::assert_here(loop, "SignalHandler::create");
  if (loop.closed()) {
    return absl::FailedPreconditionError(
        absl::StrFormat("SignalHandler: loop \"%s\" is closed", loop.name()));
  }
  if (signal <= 0 || signal >= NSIG) {
    return absl::InvalidArgumentError(absl::StrFormat("SignalHandler: %d is no signal", signal));
  }
  Table& table = SignalHandler::table();
  internal::MutexLock lock(table.mutex);
  Slot* slot = nullptr;
  for (Slot& candidate : table.slots) {
    if (candidate.signal.load(std::memory_order_relaxed) == 0) {
      slot = &candidate;
      break;
    }
  }
  if (slot == nullptr) {
    return absl::ResourceExhaustedError(
        absl::StrFormat("SignalHandler: the process has %d of them already", kMaxHandlers));
  }
  if (table.handlers[signal] == 0) {
    struct sigaction action {};
    action.sa_handler = &SignalHandler::on_signal;
    action.sa_flags = SA_RESTART;
    ::sigfillset(&action.sa_mask);  // one at a time: a handler interrupts no other
    if (::sigaction(signal, &action, &table.former[signal]) != 0) {
      return internal::errno_status(errno, absl::StrFormat("SignalHandler for signal %d", signal));
    }
  }
  ++table.handlers[signal];
  std::unique_ptr<SignalHandler> handler(new SignalHandler(std::move(function)));
  handler->slot_ = slot;
  slot->handler = handler.get();
  slot->keep = internal::LoopAccess::queue(loop);
  slot->queued.store(false, std::memory_order_relaxed);
  slot->queue.store(slot->keep.get(), std::memory_order_seq_cst);
  slot->signal.store(signal, std::memory_order_seq_cst);
  return handler;
}

SignalHandler::~SignalHandler() {
  Table& table = SignalHandler::table();
  std::shared_ptr<internal::CallbackQueue> keep;  // released after the lock
  internal::MutexLock lock(table.mutex);
  const int signal = slot_->signal.load(std::memory_order_relaxed);
  if (--table.handlers[signal] == 0) ::sigaction(signal, &table.former[signal], nullptr);
  slot_->queue.store(nullptr, std::memory_order_seq_cst);
  // A handler in another thread may have read the queue before, and posts to it yet.
  while (table.lookers.load(std::memory_order_seq_cst) != 0) std::this_thread::yield();
  // After those: whatever they posted has the generation that ends here.
  slot_->generation.fetch_add(1, std::memory_order_relaxed);
  keep = std::move(slot_->keep);
  slot_->handler = nullptr;
  slot_->signal.store(0, std::memory_order_seq_cst);
}

}  // namespace gyre
