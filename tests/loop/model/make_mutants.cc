// Writes the mutants of the queue's headers: make_mutants OUTPUT MUTANTS.txt HEADER...
//
// Each mutant is the text of all the headers in a namespace of its own, with one change: an order
// that is not relaxed made relaxed, for each one there is; or what MUTANTS.txt says. Fails if a
// text that is to be changed is not there exactly once, so that no mutant outlives the code it is
// made of.

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <string>
#include <vector>

namespace {

using Lines = std::vector<std::string>;

struct Hunk {
  Lines before, after;
};

struct Mutant {
  std::string name;
  bool equivalent = false;
  std::vector<Hunk> hunks;
};

[[noreturn]] void fail(const std::string& what) {
  std::cerr << "make_mutants: " << what << "\n";
  std::exit(1);
}

std::string trimmed(const std::string& line) {
  const size_t begin = line.find_first_not_of(' ');
  return begin == std::string::npos ? "" : line.substr(begin);
}

Lines read_lines(const std::string& path) {
  std::ifstream file(path);
  if (!file) fail("cannot read " + path);
  Lines result;
  for (std::string line; std::getline(file, line);) result.push_back(line);
  return result;
}

// The headers' code, without comments, preprocessor and the enclosing namespace.
void append_code(const std::string& path, Lines& code) {
  for (const std::string& line : read_lines(path)) {
    std::string text = trimmed(line.substr(0, line.find("//")));
    for (size_t at; (at = text.find("/*")) != std::string::npos;)
      text.erase(at, text.find("*/", at) + 2 - at);
    while (!text.empty() && text.back() == ' ') text.pop_back();
    const bool frame = text == "namespace gyre::internal {" || text.rfind('#', 0) == 0;
    if (!text.empty() && !frame) code.push_back(text);
  }
  if (code.empty() || code.back() != "}") fail(path + ": no namespace gyre::internal at its end");
  code.pop_back();
}

std::vector<Mutant> read_mutants(const std::string& path) {
  std::vector<Mutant> mutants;
  bool after = true;
  for (const std::string& line : read_lines(path)) {
    if (line.empty() || line[0] == '#') continue;
    if (line.rfind("mutant ", 0) == 0 || line.rfind("equivalent ", 0) == 0) {
      Mutant mutant;
      mutant.name = line.substr(line.find(' ') + 1);
      mutant.equivalent = line[0] == 'e';
      mutants.push_back(mutant);
      after = true;
      continue;
    }
    if (mutants.empty() || (line[0] != '-' && line[0] != '+')) fail(path + ": what is: " + line);
    std::vector<Hunk>& hunks = mutants.back().hunks;
    if (line[0] == '-' && after) hunks.emplace_back();
    after = line[0] == '+';
    if (hunks.empty()) fail(path + ": " + mutants.back().name + " begins with a +");
    (after ? hunks.back().after : hunks.back().before).push_back(trimmed(line.substr(1)));
  }
  return mutants;
}

void apply(const Mutant& mutant, const Hunk& hunk, Lines& code) {
  std::vector<size_t> found;
  for (size_t i = 0; i + hunk.before.size() <= code.size(); ++i) {
    if (std::equal(hunk.before.begin(), hunk.before.end(), code.begin() + i)) found.push_back(i);
  }
  if (found.size() != 1) {
    fail("mutant \"" + mutant.name + "\": its first line \"" + hunk.before.front() +
         "\" and what follows is there " + std::to_string(found.size()) +
         " times, not once: bring mutants.txt up to date");
  }
  const auto at = code.begin() + static_cast<std::ptrdiff_t>(found[0]);
  const auto hole = code.erase(at, at + static_cast<std::ptrdiff_t>(hunk.before.size()));
  code.insert(hole, hunk.after.begin(), hunk.after.end());
}

class Writer {
 public:
  explicit Writer(const std::string& path) : out_(path) {
    out_ << "// Written by make_mutants.\n";
    for (const char* header : {"<atomic>", "<cstddef>", "<cstdint>", "\"gyre/loop/cpu_hints.h\"",
                               "\"gyre/tests/loop/model/queue_mutants.h\""}) {
      out_ << "#include " << header << "\n";
    }
  }

  void add(const std::string& name, bool equivalent, const Lines& code) {
    const std::string space = "mutant" + std::to_string(count_++);
    out_ << "namespace gyre::model::" << space << " {\n"
         << "using internal::prefetch_for_writing;\n";
    for (const std::string& line : code) out_ << line << "\n";
    out_ << "}\n";
    table_ += "    {\"" + name + "\", " + (equivalent ? "true" : "false") + ", &explore_queue<" +
              space + "::MpscInbox>},\n";
  }

  void finish() {
    out_ << "namespace gyre::model {\n"
            "static constexpr Mutant kMutants[] = {\n"
         << table_ << "};\nstd::span<const Mutant> mutants() { return kMutants; }\n}\n";
    out_.close();
    if (!out_) fail("cannot write the output");
  }

 private:
  std::ofstream out_;
  std::string table_;
  int count_ = 0;
};

void add_relaxed_orders(const Lines& code, Writer& writer) {
  static const std::string kOrder = "std::memory_order_";
  static const std::string kRelaxed = kOrder + "relaxed";
  int number = 0;
  for (size_t i = 0; i < code.size(); ++i) {
    for (size_t at = 0; (at = code[i].find(kOrder, at)) != std::string::npos; at += kOrder.size()) {
      const size_t end = code[i].find_first_not_of("abcdefghijklmnopqrstuvwxyz_", at + 5);
      const std::string order = code[i].substr(at, end - at);
      if (order == kRelaxed) continue;
      Lines mutated = code;
      mutated[i].replace(at, order.size(), kRelaxed);
      writer.add("order " + std::to_string(++number) + " relaxed: " + code[i], false, mutated);
    }
  }
  if (number == 0) fail("no order to relax was found");
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4) fail("usage: make_mutants OUTPUT MUTANTS.txt HEADER...");
  Lines code;
  for (int i = 3; i < argc; ++i) append_code(argv[i], code);
  Writer writer(argv[1]);
  writer.add("none", /*equivalent=*/true, code);
  add_relaxed_orders(code, writer);
  for (const Mutant& mutant : read_mutants(argv[2])) {
    Lines mutated = code;
    for (const Hunk& hunk : mutant.hunks) apply(mutant, hunk, mutated);
    if (mutated == code) fail("mutant \"" + mutant.name + "\" changes nothing");
    writer.add(mutant.name, mutant.equivalent, mutated);
  }
  writer.finish();
}
