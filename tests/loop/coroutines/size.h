#ifndef GYRE_TESTS_LOOP_COROUTINES_SIZE_H_
#define GYRE_TESTS_LOOP_COROUTINES_SIZE_H_

#include <cstdlib>

namespace gyre::testing {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool kSanitized = true;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
inline constexpr bool kSanitized = true;
#else
inline constexpr bool kSanitized = false;
#endif
#else
inline constexpr bool kSanitized = false;
#endif

// A size of a large test: `full`, a twentieth of it under a sanitizer, and divided by
// GYRE_TEST_SCALE where that is set (for emulators and the like).
inline int sized(int full) {
  const char* scale = std::getenv("GYRE_TEST_SCALE");
  const int divisor = scale != nullptr && std::atoi(scale) > 0 ? std::atoi(scale) : 1;
  const int size = full / (kSanitized ? 20 : 1) / divisor;
  return size > 0 ? size : 1;
}

}  // namespace gyre::testing

#endif  // GYRE_TESTS_LOOP_COROUTINES_SIZE_H_
