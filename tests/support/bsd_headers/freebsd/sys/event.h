#ifndef GYRE_TESTS_SUPPORT_BSD_HEADERS_FREEBSD_SYS_EVENT_H_
#define GYRE_TESTS_SUPPORT_BSD_HEADERS_FREEBSD_SYS_EVENT_H_

// The shape of FreeBSD's <sys/event.h>, so that Linux checks that the backend compiles against it.
// Declarations only, after its kqueue(2) page: nothing can be linked with it. The values are that
// system's, too.

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
  uint64_t ext[4];  // since 12.0
};

#define EV_SET(kevp_, a, b, c, d, e, f) \
  do {                                  \
    *(kevp_) = (struct kevent){         \
        .ident = (a),                   \
        .filter = (b),                  \
        .flags = (c),                   \
        .fflags = (d),                  \
        .data = (e),                    \
        .udata = (f),                   \
        .ext = {0},                     \
    };                                  \
  } while (0)

#ifdef __cplusplus
extern "C" {
#endif
int kqueue(void);
int kevent(int kq, const struct kevent* changelist, int nchanges, struct kevent* eventlist,
           int nevents, const struct timespec* timeout);
#ifdef __cplusplus
}
#endif

#endif  // GYRE_TESTS_SUPPORT_BSD_HEADERS_FREEBSD_SYS_EVENT_H_
