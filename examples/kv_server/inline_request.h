#ifndef GYRE_EXAMPLES_KV_SERVER_INLINE_REQUEST_H_
#define GYRE_EXAMPLES_KV_SERVER_INLINE_REQUEST_H_

#include <string>
#include <string_view>
#include <vector>

#include "gyre/examples/kv_server/args.h"

namespace gyre::kv {

// Splits a line that a person typed into words: at spaces; "..." with the escapes \n \r \t \b \a
// \xHH \\ \"; '...' with \'. Appends the words, unquoted, to `bytes` and where they lie to `spans`.
// False: a quote is not closed, or something other than a space follows it.
bool split_inline(std::string_view line, std::string& bytes, std::vector<Span>& spans);

}  // namespace gyre::kv

#endif  // GYRE_EXAMPLES_KV_SERVER_INLINE_REQUEST_H_
