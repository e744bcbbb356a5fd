#ifndef GYRE_TESTS_SUPPORT_KQUEUE_SHIM_DESCRIPTOR_STATE_H_
#define GYRE_TESTS_SUPPORT_KQUEUE_SHIM_DESCRIPTOR_STATE_H_

#include <cstdint>

namespace gyre::testing {

// What a filter of a kqueue says of a descriptor, found out with the calls that Linux has.
struct FilterState {
  bool ready = false;
  bool ended = false;  // EV_EOF
  unsigned int error = 0;
  int64_t data = 0;
};

enum class DescriptorKind { kSocket, kListener, kPipe, kOther };

DescriptorKind kind_of(int fd);
FilterState read_filter_state(int fd, DescriptorKind kind);
FilterState write_filter_state(int fd, DescriptorKind kind);

}  // namespace gyre::testing

#endif  // GYRE_TESTS_SUPPORT_KQUEUE_SHIM_DESCRIPTOR_STATE_H_
