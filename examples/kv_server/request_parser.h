#ifndef GYRE_EXAMPLES_KV_SERVER_REQUEST_PARSER_H_
#define GYRE_EXAMPLES_KV_SERVER_REQUEST_PARSER_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "gyre/examples/kv_server/args.h"

namespace gyre::kv {

// What a request may be at most. Beyond it: a protocol error.
struct RequestLimits {
  size_t inline_bytes = 64 * 1024;
  int64_t arguments = 1024 * 1024;
  int64_t bulk_bytes = 512 * 1024 * 1024;
  size_t request_bytes = size_t{1024} * 1024 * 1024;  // below 4 GiB, see Span
};

// Finds the requests in a stream of RESP2: arrays of bulk strings, or words in a line ("inline").
// Pure and incremental: it copies nothing of an array, remembers how far it came, and says the same
// however the stream is cut.
//
//     *2\r\n $3\r\n GET\r\n $1\r\n k\r\n *1\r\n ...
//                           ^ position_ after kIncomplete; the next call goes on there
class RequestParser {
 public:
  enum class Outcome {
    kRequest,     // args(): one request, `size()` bytes long. No args: nothing to do
    kIncomplete,  // call again with the same bytes and more
    kError,       // error(): the stream cannot be understood from here on
  };

  static constexpr RequestLimits kDefaultLimits = {};

  // `limits` is borrowed.
  explicit RequestParser(const RequestLimits& limits = kDefaultLimits) : limits_(limits) {}

  // `bytes` begins with the first byte behind the last request.
  Outcome parse(std::string_view bytes);

  // Of the last request. Valid as long as the bytes, and until the next parse().
  Args args() const { return {inline_.empty() ? begin_ : inline_.data(), spans_}; }
  size_t size() const { return position_; }
  // As the reply to be sent: "ERR Protocol error: ...".
  std::string_view error() const { return error_; }

 private:
  // What read_number() found. kMore: its line has not ended yet.
  enum class Number { kFound, kMore, kWrong };

  Number read_number(std::string_view bytes, int64_t& number);
  Outcome parse_array(std::string_view bytes);
  Outcome parse_bulk_header(std::string_view bytes);
  Outcome parse_inline(std::string_view bytes);
  Outcome complete(std::string_view bytes);
  Outcome fail(std::string_view error);

  const RequestLimits& limits_;
  const char* begin_ = nullptr;
  size_t position_ = 0;
  int64_t missing_ = kUnknown;  // arguments that are still to come
  int64_t bulk_ = kUnknown;     // bytes of the argument that comes next
  bool complete_ = false;
  std::vector<Span> spans_;
  std::string inline_;  // the words of an inline request, without their quotes
  std::string_view error_;

  static constexpr int64_t kUnknown = -1;
};

}  // namespace gyre::kv

#endif  // GYRE_EXAMPLES_KV_SERVER_REQUEST_PARSER_H_
