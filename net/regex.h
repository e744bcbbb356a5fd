#ifndef GYRE_NET_REGEX_H_
#define GYRE_NET_REGEX_H_

#include <memory>
#include <string>
#include <string_view>

#include "gyre/net/io_stream.h"

namespace re2 {
class RE2;
}  // namespace re2

namespace gyre {

// What is collected for a regular expression at most, unless it is said otherwise: all of it is
// searched each time that more has come.
inline constexpr size_t kMaxRegexBytes = 64 * 1024;

// IOStream's read_until for a regular expression (RE2): up to and with its first match. One of its
// own library, //net:regex, since it needs RE2. InvalidArgument for a pattern that is none, with
// RE2's words; the other errors are those of every read.
internal::ReadAwaiter<std::string> read_until_regex(IOStream& stream, std::string_view pattern,
                                                    size_t max_bytes = kMaxRegexBytes);
// With a pattern that was compiled before; any number of streams, of any loops, may share it.
internal::ReadAwaiter<std::string> read_until_regex(IOStream& stream,
                                                    std::shared_ptr<const re2::RE2> pattern,
                                                    size_t max_bytes = kMaxRegexBytes);

}  // namespace gyre

#endif  // GYRE_NET_REGEX_H_
