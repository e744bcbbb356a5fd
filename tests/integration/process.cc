#include "gyre/tests/integration/process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <thread>

#include "gyre/loop/log.h"

extern char** environ;

namespace gyre::testing {
namespace {

using Clock = std::chrono::steady_clock;

int milliseconds_until(Clock::time_point deadline) {
  const auto left =
      std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
  return left > 0 ? static_cast<int>(left) : 0;
}

}  // namespace

Process::Process(std::vector<std::string> arguments) {
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  int out[2], err[2];
  GYRE_CHECK(::pipe2(out, O_CLOEXEC) == 0 && ::pipe2(err, O_CLOEXEC) == 0, "pipe2");
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, out[1], STDOUT_FILENO);
  ::posix_spawn_file_actions_adddup2(&actions, err[1], STDERR_FILENO);
  const int error = ::posix_spawnp(&pid_, argv[0], &actions, nullptr, argv.data(), environ);
  ::posix_spawn_file_actions_destroy(&actions);
  ::close(out[1]);
  ::close(err[1]);
  out_.fd.reset(out[0]);
  err_.fd.reset(err[0]);
  GYRE_CHECK(error == 0, "%s cannot be started: %d", arguments[0], error);
}

Process::~Process() {
  if (pid_ < 0) return;
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
}

void Process::signal(int number) { ::kill(pid_, number); }

// False: both pipes have ended, or the deadline passed.
bool Process::read_some(Clock::time_point deadline) {
  std::array<pollfd, 2> fds{pollfd{out_.fd.get(), POLLIN, 0}, pollfd{err_.fd.get(), POLLIN, 0}};
  if (!out_.fd && !err_.fd) return false;
  if (::poll(fds.data(), fds.size(), milliseconds_until(deadline)) <= 0) return false;
  for (Pipe* pipe : {&out_, &err_}) {
    const pollfd& entry = fds[pipe == &out_ ? 0 : 1];
    if (entry.revents == 0) continue;
    char buffer[4096];
    const ssize_t n = ::read(pipe->fd.get(), buffer, sizeof(buffer));
    if (n > 0) {
      pipe->text.append(buffer, n);
    } else {
      pipe->fd.reset();
    }
  }
  return true;
}

bool Process::wait_for_output(std::string_view text, std::chrono::seconds limit) {
  return wait_for(out_, text, limit);
}

bool Process::wait_for_error(std::string_view text, std::chrono::seconds limit) {
  return wait_for(err_, text, limit);
}

bool Process::wait_for(const Pipe& pipe, std::string_view text, std::chrono::seconds limit) {
  const Clock::time_point deadline = Clock::now() + limit;
  while (pipe.text.find(text) == std::string::npos) {
    if (!read_some(deadline)) return false;
  }
  return true;
}

int Process::wait(std::chrono::seconds limit) {
  const Clock::time_point deadline = Clock::now() + limit;
  while (read_some(deadline)) {
  }
  int status = 0;
  // The pipes have ended, so the process has, or is about to.
  while (::waitpid(pid_, &status, WNOHANG) == 0) {
    if (Clock::now() >= deadline) return -1;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  pid_ = -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

std::string runfile(const std::string& path) {
  const char* root = std::getenv("TEST_SRCDIR");
  const char* workspace = std::getenv("TEST_WORKSPACE");
  if (root == nullptr || workspace == nullptr) return path;
  return std::string(root) + "/" + workspace + "/" + path;
}

}  // namespace gyre::testing
