#ifndef GYRE_LOOP_CALL_SITE_H_
#define GYRE_LOOP_CALL_SITE_H_

#include <cstdint>
#include <string>

namespace gyre {

// Where in the program a callback was posted, in one word: std::source_location is a pointer too,
// but clang 14 does not have it.
class CallSite {
 public:
  CallSite() = default;

  static CallSite current(const char* file = __builtin_FILE(), unsigned line = __builtin_LINE()) {
    // A pointer to static data fits in 48 bits on every platform that gyre runs on; the line is cut
    // to the 14 bits above it.
    CallSite site;
    site.word_ = (reinterpret_cast<uint64_t>(file) & kFileMask) |
                 (static_cast<uint64_t>(line < kMaxLine ? line : kMaxLine) << kFileBits);
    return site;
  }

  bool known() const { return (word_ & kFileMask) != 0; }
  const char* file() const { return reinterpret_cast<const char*>(word_ & kFileMask); }
  unsigned line() const { return (word_ >> kFileBits) & kMaxLine; }

  // For who packs it together with something else; the top two bits of the word are free.
  uint64_t word() const { return word_; }
  static CallSite from_word(uint64_t word) {
    CallSite site;
    site.word_ = word & (kFileMask | uint64_t{kMaxLine} << kFileBits);
    return site;
  }

  // "net/tcp_server.cc:42", or "unknown".
  std::string to_string() const {
    return known() ? std::string(file()) + ":" + std::to_string(line()) : "unknown";
  }

 private:
  static constexpr int kFileBits = 48;
  static constexpr uint64_t kFileMask = (uint64_t{1} << kFileBits) - 1;
  static constexpr unsigned kMaxLine = (1u << 14) - 1;

  uint64_t word_ = 0;
};

}  // namespace gyre

#endif  // GYRE_LOOP_CALL_SITE_H_
