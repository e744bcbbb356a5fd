#ifndef GYRE_NET_CRC32C_H_
#define GYRE_NET_CRC32C_H_

#include "gyre/loop/cxx20.h"  // before all else

#include <array>
#include <cstdint>
#include <string_view>

namespace gyre::internal {

// The checksum of RFC 4960, appendix B (Castagnoli's polynomial, its bits reversed). A byte at a
// time: it is for headers.
inline uint32_t crc32c(std::string_view bytes) {
  static constexpr std::array<uint32_t, 256> kTable = [] {
    std::array<uint32_t, 256> table{};
    for (uint32_t i = 0; i < table.size(); ++i) {
      uint32_t value = i;
      for (int bit = 0; bit < 8; ++bit) value = (value >> 1) ^ ((value & 1) != 0 ? 0x82f63b78u : 0);
      table[i] = value;
    }
    return table;
  }();
  uint32_t sum = 0xffffffff;
  for (const char byte : bytes)
    sum = (sum >> 8) ^ kTable[(sum ^ static_cast<uint8_t>(byte)) & 0xff];
  return ~sum;
}

}  // namespace gyre::internal

#endif  // GYRE_NET_CRC32C_H_
