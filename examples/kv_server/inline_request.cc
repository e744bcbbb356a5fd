#include "gyre/examples/kv_server/inline_request.h"

#include <charconv>

namespace gyre::kv {
namespace {

bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

// The character that "\c" stands for.
char unescape(char c) {
  switch (c) {
    case 'n':
      return '\n';
    case 'r':
      return '\r';
    case 't':
      return '\t';
    case 'b':
      return '\b';
    case 'a':
      return '\a';
    default:
      return c;
  }
}

// Takes an escape, from behind its backslash, off the front of `rest`.
char take_escape(std::string_view& rest) {
  unsigned char byte = 0;
  if (rest.size() >= 3 && rest[0] == 'x' &&
      std::from_chars(&rest[1], &rest[1] + 2, byte, 16).ptr == &rest[1] + 2) {
    rest.remove_prefix(3);
    return static_cast<char>(byte);
  }
  const char c = unescape(rest.front());
  rest.remove_prefix(1);
  return c;
}

// Takes a quoted piece, from behind its opening quote up to its closing one.
bool take_quoted(char quote, std::string_view& rest, std::string& bytes) {
  while (!rest.empty()) {
    const char c = rest.front();
    rest.remove_prefix(1);
    if (c == quote) return rest.empty() || is_space(rest.front());
    const bool escaped = c == '\\' && !rest.empty() && (quote == '"' || rest.front() == '\'');
    bytes.push_back(escaped ? take_escape(rest) : c);
  }
  return false;
}

bool take_word(std::string_view& rest, std::string& bytes) {
  while (!rest.empty() && !is_space(rest.front())) {
    const char c = rest.front();
    rest.remove_prefix(1);
    if (c == '"' || c == '\'') return take_quoted(c, rest, bytes);
    bytes.push_back(c);
  }
  return true;
}

}  // namespace

bool split_inline(std::string_view line, std::string& bytes, std::vector<Span>& spans) {
  for (;;) {
    while (!line.empty() && is_space(line.front())) line.remove_prefix(1);
    if (line.empty()) return true;
    const auto begin = static_cast<uint32_t>(bytes.size());
    if (!take_word(line, bytes)) return false;
    spans.push_back({begin, static_cast<uint32_t>(bytes.size()) - begin});
  }
}

}  // namespace gyre::kv
