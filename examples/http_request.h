#ifndef GYRE_EXAMPLES_HTTP_REQUEST_H_
#define GYRE_EXAMPLES_HTTP_REQUEST_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace gyre::examples {

// Reads one HTTP/1 request after another from bytes that come cut anywhere. Each byte is looked at
// once: only a line that has not ended yet is kept. Strict (RFC 9112): what a server in front may
// read in another way is bad. Bodies are skipped.
class HttpRequestReader {
 public:
  enum class Outcome {
    kMore,     // all bytes are taken, the request goes on
    kRequest,  // it is whole; what follows it is left
    kBad,      // no request, or one that this server does not take: answer 400 and close
  };

  // Takes bytes from the front of `input`. Not called again after kBad.
  Outcome read(std::string_view& input);

  // Of the request that was read last, until the next read().
  enum class Method { kGet, kHead, kOther };
  Method method() const { return head_.method; }
  bool keep_alive() const { return head_.keep_alive; }

  // Of a request's line and fields together.
  static constexpr size_t kMaxHeadBytes = 16 * 1024;

 private:
  enum class Part { kRequestLine, kFields, kBody, kDone };

  struct Head {
    Method method = Method::kOther;
    bool keep_alive = false;
    bool needs_host = false;
    bool has_host = false;
    bool has_length = false;
  };

  bool take_line(std::string_view line);
  bool take_request_line(std::string_view line);
  bool take_field(std::string_view line);
  bool take_length(std::string_view value);
  void take_connection(std::string_view value);
  bool end_fields();

  Part part_ = Part::kRequestLine;
  Head head_;
  size_t head_bytes_ = 0;
  uint64_t body_left_ = 0;
  std::string line_;  // the beginning of one that has not ended
};

}  // namespace gyre::examples

#endif  // GYRE_EXAMPLES_HTTP_REQUEST_H_
