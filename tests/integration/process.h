#ifndef GYRE_TESTS_INTEGRATION_PROCESS_H_
#define GYRE_TESTS_INTEGRATION_PROCESS_H_

#include <sys/types.h>

#include <chrono>
#include <string>
#include <string_view>
#include <vector>

#include "gyre/loop/unique_fd.h"

namespace gyre::testing {

// A program that a test started. Killed and reaped when the test is done with it.
class Process {
 public:
  // `arguments` begin with the program: a path, or a name that is searched in PATH.
  explicit Process(std::vector<std::string> arguments);
  ~Process();
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  pid_t pid() const { return pid_; }

  // Reads stdout until it holds `text`; false when the deadline passed, or it ended without.
  bool wait_for_output(std::string_view text,
                       std::chrono::seconds deadline = std::chrono::seconds(30));
  // The same for stderr.
  bool wait_for_error(std::string_view text,
                      std::chrono::seconds deadline = std::chrono::seconds(30));
  void signal(int number);
  // Waits for the end and gives the exit code; 128 + n for signal n; -1 when the deadline passed.
  int wait(std::chrono::seconds deadline = std::chrono::seconds(60));

  const std::string& out() const { return out_.text; }
  const std::string& err() const { return err_.text; }

 private:
  struct Pipe {
    UniqueFd fd;
    std::string text;
  };

  bool wait_for(const Pipe& pipe, std::string_view text, std::chrono::seconds limit);
  bool read_some(std::chrono::steady_clock::time_point deadline);

  pid_t pid_ = -1;
  Pipe out_;
  Pipe err_;
};

// Where Bazel put a program or a file of this repository: "examples/echo_server".
std::string runfile(const std::string& path);

}  // namespace gyre::testing

#endif  // GYRE_TESTS_INTEGRATION_PROCESS_H_
