#ifndef GYRE_TESTS_SUPPORT_KQUEUE_SHIM_INCLUDE_SYS_EVENT_H_
#define GYRE_TESTS_SUPPORT_KQUEUE_SHIM_INCLUDE_SYS_EVENT_H_

// A TEST DOUBLE, and nothing else: the part of kqueue(2) that gyre's backend uses, played on Linux,
// so that the backend's source runs unchanged where there is no such kernel. Nobody should use it
// for anything but tests: it is slow, and knows no more than these tests ask of it.
//
// Where FreeBSD and macOS differ it does what FreeBSD does, which is harder to please. What it
// promises:
//
//   - a kevent is an (ident, filter) pair; EV_ADD of one that is there changes udata, not EV_CLEAR;
//   - EVFILT_READ and EVFILT_WRITE of sockets, pipes and what else epoll can watch, EVFILT_USER with
//     NOTE_TRIGGER; EV_ADD, EV_DELETE, EV_ENABLE, EV_DISABLE, EV_ONESHOT, EV_DISPATCH, EV_CLEAR;
//   - an end is reported by each filter on its own, with EV_EOF, and the socket's errno in fflags;
//     `data` is the bytes to read (a listener's backlog), or the room for bytes to write;
//   - every change is made, though one before it failed; errors and EV_RECEIPTs come as EV_ERROR
//     entries, instead of events; without room for one kevent() fails with its errno, at once;
//   - closing an fd's number removes its kevents, also while a copy of it is open;
//   - a pipe that nobody reads takes no EVFILT_WRITE (EPIPE), and one that is there comes once more,
//     with EV_EOF and EV_ONESHOT;
//   - a queue is not inherited by fork();
//   - NOTE_TRIGGER works from a signal handler.
//
// What it cannot do: fflags is a guess from the state of the connection (refused or reset), since
// Linux shows a pending error only to the one who takes it away; and an EV_CLEAR write filter may
// come again when data arrives, as it does in epoll(7).

#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#define EVFILT_READ (-1)
#define EVFILT_WRITE (-2)
#define EVFILT_USER (-11)

#define EV_ADD 0x0001
#define EV_DELETE 0x0002
#define EV_ENABLE 0x0004
#define EV_DISABLE 0x0008
#define EV_ONESHOT 0x0010
#define EV_CLEAR 0x0020
#define EV_RECEIPT 0x0040
#define EV_DISPATCH 0x0080
#define EV_ERROR 0x4000
#define EV_EOF 0x8000

#define NOTE_TRIGGER 0x01000000

struct kevent {
  uintptr_t ident;
  short filter;
  unsigned short flags;
  unsigned int fflags;
  int64_t data;
  void* udata;
};

#define EV_SET(event, the_ident, the_filter, the_flags, the_fflags, the_data, the_udata) \
  do {                                                                                   \
    struct kevent* const ev_set_event = (event);                                         \
    ev_set_event->ident = (the_ident);                                                   \
    ev_set_event->filter = (the_filter);                                                 \
    ev_set_event->flags = (the_flags);                                                   \
    ev_set_event->fflags = (the_fflags);                                                 \
    ev_set_event->data = (the_data);                                                     \
    ev_set_event->udata = (the_udata);                                                   \
  } while (false)

int kqueue();
int kevent(int queue, const struct kevent* changes, int change_count, struct kevent* events,
           int event_count, const struct timespec* timeout);

#endif  // GYRE_TESTS_SUPPORT_KQUEUE_SHIM_INCLUDE_SYS_EVENT_H_
