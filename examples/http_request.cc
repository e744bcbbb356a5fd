#include "gyre/examples/http_request.h"

#include <algorithm>
#include <charconv>
#include <utility>

namespace gyre::examples {
namespace {

constexpr std::string_view kTokenMarks = "!#$%&'*+-.^_`|~";  // RFC 9110, 5.6.2

bool is_token_character(unsigned char c) {
  const unsigned char lower = c | 0x20;
  return (lower >= 'a' && lower <= 'z') || (c >= '0' && c <= '9') ||
         kTokenMarks.find(static_cast<char>(c)) != std::string_view::npos;
}
bool is_token(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), is_token_character);
}
bool is_visible(std::string_view text) {
  return !text.empty() &&
         std::all_of(text.begin(), text.end(), [](unsigned char c) { return c > ' ' && c < 0x7f; });
}
bool has_control_character(std::string_view text) {
  return std::any_of(text.begin(), text.end(),
                     [](unsigned char c) { return (c < ' ' && c != '\t') || c == 0x7f; });
}

bool same_ignoring_case(std::string_view text, std::string_view lower) {
  return text.size() == lower.size() &&
         std::equal(text.begin(), text.end(), lower.begin(), [](char a, char b) {
           return (a >= 'A' && a <= 'Z' ? a + ('a' - 'A') : a) == b;
         });
}

std::string_view without_spaces_around(std::string_view text) {
  const size_t first = text.find_first_not_of(" \t");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t") + 1 - first);
}

}  // namespace

HttpRequestReader::Outcome HttpRequestReader::read(std::string_view& input) {
  if (part_ == Part::kDone) {
    part_ = Part::kRequestLine;
    head_ = Head();
    head_bytes_ = 0;
  }
  while (!input.empty()) {
    if (part_ == Part::kBody) {
      const size_t skipped = std::min<uint64_t>(body_left_, input.size());
      input.remove_prefix(skipped);
      body_left_ -= skipped;
      if (body_left_ == 0) part_ = Part::kDone;
    } else {
      const size_t feed = input.find('\n');
      const size_t taken = feed == std::string_view::npos ? input.size() : feed + 1;
      head_bytes_ += taken;
      if (head_bytes_ > kMaxHeadBytes) return Outcome::kBad;
      std::string_view line = input.substr(0, taken);
      input.remove_prefix(taken);
      if (feed == std::string_view::npos || !line_.empty()) line = line_.append(line);
      if (feed == std::string_view::npos) return Outcome::kMore;
      if (!line.ends_with("\r\n")) return Outcome::kBad;
      if (!take_line(line.substr(0, line.size() - 2))) return Outcome::kBad;
      line_.clear();
    }
    if (part_ == Part::kDone) return Outcome::kRequest;
  }
  return Outcome::kMore;
}

bool HttpRequestReader::take_line(std::string_view line) {
  if (part_ == Part::kRequestLine) {
    // Old clients end a body with an empty line too many (RFC 9112, 2.2).
    return line.empty() || take_request_line(line);
  }
  return line.empty() ? end_fields() : take_field(line);
}

bool HttpRequestReader::take_request_line(std::string_view line) {
  const size_t first = line.find(' '), last = line.rfind(' ');
  if (first == std::string_view::npos || first == last) return false;
  const std::string_view method = line.substr(0, first);
  const std::string_view target = line.substr(first + 1, last - first - 1);
  const std::string_view version = line.substr(last + 1);
  if (!is_token(method) || !is_visible(target)) return false;
  if (version != "HTTP/1.1" && version != "HTTP/1.0") return false;
  head_.method = method == "GET" ? Method::kGet : method == "HEAD" ? Method::kHead : Method::kOther;
  head_.keep_alive = head_.needs_host = version == "HTTP/1.1";
  part_ = Part::kFields;
  return true;
}

bool HttpRequestReader::take_field(std::string_view line) {
  const size_t colon = line.find(':');
  if (colon == std::string_view::npos) return false;
  const std::string_view name = line.substr(0, colon);
  if (!is_token(name)) return false;  // a folded line begins with a space
  const std::string_view value = without_spaces_around(line.substr(colon + 1));
  if (has_control_character(value)) return false;
  if (same_ignoring_case(name, "host")) return !std::exchange(head_.has_host, true);
  if (same_ignoring_case(name, "content-length")) return take_length(value);
  if (same_ignoring_case(name, "connection")) take_connection(value);
  return !same_ignoring_case(name, "transfer-encoding");  // its end would have to be parsed
}

bool HttpRequestReader::take_length(std::string_view value) {
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), body_left_);
  return error == std::errc() && end == value.data() + value.size() &&
         !std::exchange(head_.has_length, true);
}

void HttpRequestReader::take_connection(std::string_view value) {
  while (!value.empty()) {
    const size_t comma = std::min(value.find(','), value.size());
    if (same_ignoring_case(without_spaces_around(value.substr(0, comma)), "close"))
      head_.keep_alive = false;
    value.remove_prefix(std::min(comma + 1, value.size()));
  }
}

bool HttpRequestReader::end_fields() {
  part_ = body_left_ > 0 ? Part::kBody : Part::kDone;
  return head_.has_host || !head_.needs_host;
}

}  // namespace gyre::examples
