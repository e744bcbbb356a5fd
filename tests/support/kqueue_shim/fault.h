#ifndef GYRE_TESTS_SUPPORT_KQUEUE_SHIM_FAULT_H_
#define GYRE_TESTS_SUPPORT_KQUEUE_SHIM_FAULT_H_

namespace gyre::testing {

// The next EV_ADD of that filter, in any queue, fails with this errno, as if the kernel had no
// memory.
void fail_next_kevent_add(short filter, int error);

// How many times kevent() was called in this process, wake-ups (NOTE_TRIGGER) left out.
int kevent_calls();

}  // namespace gyre::testing

#endif  // GYRE_TESTS_SUPPORT_KQUEUE_SHIM_FAULT_H_
