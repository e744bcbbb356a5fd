#ifndef GYRE_TESTS_THREADING_THREAD_NAME_H_
#define GYRE_TESTS_THREADING_THREAD_NAME_H_

#include <pthread.h>

#include <string>

namespace gyre::testing {

// The calling thread's, as the system knows it.
inline std::string thread_name() {
  char name[64] = "";
  ::pthread_getname_np(::pthread_self(), name, sizeof(name));
  return name;
}

}  // namespace gyre::testing

#endif  // GYRE_TESTS_THREADING_THREAD_NAME_H_
