#ifndef GYRE_EXAMPLES_COMMAND_LINE_H_
#define GYRE_EXAMPLES_COMMAND_LINE_H_

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"

namespace gyre::examples {

// Flags of a program, parsed with getopt_long(3): --name=value, or --name alone for a bool.
class CommandLine {
 public:
  // `example`: arguments that a first-time user may try; --help shows them behind the program's
  // name.
  CommandLine(std::string summary, std::string example)
      : summary_(std::move(summary)), example_(std::move(example)) {}

  // `target` holds the default, which --help shows.
  void flag(std::string name, std::string help, std::string* target);
  void flag(std::string name, std::string help, bool* target);
  // `check` says what is wrong with a value that is given, and may keep what it made of it.
  void flag(std::string name, std::string help, std::string* target,
            std::function<absl::Status(const std::string&)> check);
  // A number from `least` to `most`.
  void flag(std::string name, std::string help, int* target, int least, int most);

  // Fills the targets. --help: prints it and exits with 0. InvalidArgument says which flag is
  // wrong.
  absl::Status parse(int argc, char** argv);

 private:
  struct Flag {
    std::string name;
    std::string help;
    std::string default_value;
    bool takes_value;
    std::function<absl::Status(const std::string&)> set;
  };

  void print_help(const char* program) const;

  const std::string summary_;
  const std::string example_;
  std::vector<Flag> flags_;
};

// Prints "PROGRAM: MESSAGE" as one line to stderr and gives 2, the exit code of a wrong call.
int usage_error(const char* program, const absl::Status& status);

// Raises the soft limit on open files to the hard one, and gives it.
size_t raise_open_file_limit();

}  // namespace gyre::examples

#endif  // GYRE_EXAMPLES_COMMAND_LINE_H_
