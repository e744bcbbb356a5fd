#include "gyre/examples/command_line.h"

#include <getopt.h>
#include <sys/resource.h>

#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "absl/strings/str_format.h"

namespace gyre::examples {
namespace {

std::string name_of(const char* program) {
  const std::string_view path(program);
  return std::string(path.substr(path.rfind('/') + 1));
}

}  // namespace

void CommandLine::flag(std::string name, std::string help, std::string* target) {
  flag(std::move(name), std::move(help), target,
       [](const std::string&) { return absl::OkStatus(); });
}

void CommandLine::flag(std::string name, std::string help, std::string* target,
                       std::function<absl::Status(const std::string&)> check) {
  auto set = [target, check = std::move(check)](const std::string& value) {
    *target = value;
    return check(value);
  };
  flags_.push_back({std::move(name), std::move(help), *target, true, std::move(set)});
}

void CommandLine::flag(std::string name, std::string help, bool* target) {
  flags_.push_back({std::move(name), std::move(help), "", false, [target](const std::string&) {
                      *target = true;
                      return absl::OkStatus();
                    }});
}

void CommandLine::flag(std::string name, std::string help, int* target, int least, int most) {
  auto set = [target, least, most](const std::string& value) {
    int number = 0;
    const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), number);
    if (error != std::errc() || end != value.data() + value.size() || number < least ||
        number > most) {
      return absl::InvalidArgumentError(
          absl::StrFormat("\"%s\" is not a number from %d to %d", value, least, most));
    }
    *target = number;
    return absl::OkStatus();
  };
  flags_.push_back(
      {std::move(name), std::move(help), std::to_string(*target), true, std::move(set)});
}

absl::Status CommandLine::parse(int argc, char** argv) {
  std::vector<option> options;
  for (const Flag& flag : flags_) {
    options.push_back(
        {flag.name.c_str(), flag.takes_value ? required_argument : no_argument, nullptr, 0});
  }
  options.push_back({"help", no_argument, nullptr, 0});
  options.push_back({nullptr, 0, nullptr, 0});
  opterr = 0;  // one message, ours
  optind = 1;
  int index = 0;
  for (;;) {
    const int current = optind;
    const int found = ::getopt_long(argc, argv, ":", options.data(), &index);
    if (found == -1) break;
    if (found != 0) {
      return absl::InvalidArgumentError(
          found == ':' ? absl::StrFormat("%s needs a value", argv[current])
                       : absl::StrFormat("unknown flag %s; --help lists them", argv[current]));
    }
    if (static_cast<size_t>(index) == flags_.size()) {
      print_help(argv[0]);
      std::exit(0);
    }
    const Flag& flag = flags_[index];
    if (absl::Status status = flag.set(optarg != nullptr ? optarg : ""); !status.ok()) {
      return absl::InvalidArgumentError(
          absl::StrFormat("--%s: %s", flag.name, std::string(status.message())));
    }
  }
  if (optind < argc) {
    return absl::InvalidArgumentError(absl::StrFormat("unexpected argument \"%s\"", argv[optind]));
  }
  return absl::OkStatus();
}

void CommandLine::print_help(const char* program) const {
  const std::string name_of_program = name_of(program);
  std::printf("%s\n\nusage: %s%s\n", summary_.c_str(), name_of_program.c_str(),
              flags_.empty() ? ", which has no flags" : " [flags], by default:");
  for (const Flag& flag : flags_) {
    const std::string name =
        flag.takes_value ? "--" + flag.name + "=" + flag.default_value : "--" + flag.name;
    std::printf("  %-28s %s\n", name.c_str(), flag.help.c_str());
  }
  std::printf("\nexample: %s%s%s\n", name_of_program.c_str(), example_.empty() ? "" : " ",
              example_.c_str());
}

int usage_error(const char* program, const absl::Status& status) {
  std::fprintf(stderr, "%s: %s\n", name_of(program).c_str(), std::string(status.message()).c_str());
  return 2;
}

size_t raise_open_file_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return 0;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
  return ::getrlimit(RLIMIT_NOFILE, &limit) == 0 ? limit.rlim_cur : 0;
}

}  // namespace gyre::examples
