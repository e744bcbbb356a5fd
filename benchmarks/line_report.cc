#include "gyre/benchmarks/line_report.h"

#include <link.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <sstream>
#include <string>
#include <string_view>
#include <unordered_map>

#include "absl/strings/str_format.h"

namespace gyre::benchmarks {
namespace {

// Where the program's own file was loaded; it comes first.
uintptr_t load_address() {
  uintptr_t address = 0;
  ::dl_iterate_phdr(
      [](dl_phdr_info* info, size_t, void* result) {
        *static_cast<uintptr_t*>(result) = info->dlpi_addr;
        return 1;
      },
      &address);
  return address;
}

std::string output_of(const std::string& command) {
  std::string text;
  FILE* output = ::popen(command.c_str(), "r");
  if (output == nullptr) return text;
  for (int c; (c = std::fgetc(output)) != EOF;) text += static_cast<char>(c);
  ::pclose(output);
  return text;
}

// " (inlined by) FUNCTION at /FOLDERS/FILE:LINE" as "FUNCTION at FILE:LINE".
std::string without_folders(std::string frame) {
  constexpr std::string_view kAt = " at ", kInlined = " (inlined by) ";
  const size_t path = frame.rfind(kAt), slash = frame.rfind('/');
  if (path != std::string::npos && slash != std::string::npos && slash > path) {
    frame.erase(path + kAt.size(), slash + 1 - path - kAt.size());
  }
  if (frame.starts_with(kInlined)) frame.erase(0, kInlined.size());
  return frame;
}

// The functions around the call in front of `code`, the innermost first, each on a line; those of
// the standard library and of installed headers apart.
std::string describe_code(const void* code) {
  constexpr int kMostFunctions = 3;
  const uintptr_t offset = reinterpret_cast<uintptr_t>(code) - load_address() - 1;
  char program[4096];
  const ssize_t length = ::readlink("/proc/self/exe", program, sizeof(program));
  std::string functions;
  if (length > 0) {
    std::istringstream frames(
        output_of(absl::StrFormat("addr2line -Cfip -e '%s' %#x 2>/dev/null",
                                  std::string(program, static_cast<size_t>(length)), offset)));
    int count = 0;
    for (std::string frame; count < kMostFunctions && std::getline(frames, frame);) {
      if (frame.find(" at /usr/") != std::string::npos) continue;
      functions += "      " + without_folders(frame) + "\n";
      ++count;
    }
  }
  return functions.empty() ? absl::StrFormat("      %#x\n", offset) : functions;
}

// "0-7,16": which bytes a mask has.
std::string byte_ranges(uint64_t mask) {
  const auto has = [mask](uintptr_t byte) {
    return byte < LineUse::kBytes && (mask >> byte & 1) != 0;
  };
  std::string text;
  for (uintptr_t first = 0; first < LineUse::kBytes; ++first) {
    if (!has(first)) continue;
    uintptr_t last = first;
    while (has(last + 1)) ++last;
    if (!text.empty()) text += ",";
    text += std::to_string(first);
    if (last != first) text += "-" + std::to_string(last);
    first = last;
  }
  return text;
}

void print_access(int loop, const char* does, uint64_t mask, const void* code) {
  if (mask == 0) return;
  std::printf("  loop %d %s bytes %s in\n%s", loop, does, byte_ranges(mask).c_str(),
              describe_code(code).c_str());
}

}  // namespace

std::vector<SharedLine> shared_lines(const std::vector<LineUse>& lines,
                                     const std::vector<LineUse>& others) {
  std::unordered_map<uintptr_t, const LineUse*> uses;
  for (const LineUse& use : lines) uses[use.line] = &use;
  std::vector<SharedLine> shared;
  for (const LineUse& other : others) {
    if (const auto it = uses.find(other.line); it != uses.end()) {
      shared.push_back({{*it->second, other}});
    }
  }
  return shared;
}

void print_line(const SharedLine& line) {
  std::printf("\nline %#zx\n", static_cast<size_t>(line.uses[0].line));
  for (int loop = 0; loop < 2; ++loop) {
    const LineUse& use = line.uses[loop];
    print_access(loop, "writes", use.written, use.writer);
    print_access(loop, "reads", use.read, use.reader);
  }
}

}  // namespace gyre::benchmarks
