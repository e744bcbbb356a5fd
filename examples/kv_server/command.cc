#include "gyre/examples/kv_server/command.h"

#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/ascii.h"

namespace gyre::kv {
namespace {

constexpr size_t kLongestName = 8;

// A name of up to 8 bytes as a number, in lower case: one comparison tells two of them apart. 0 is
// no name.
uint64_t packed(std::string_view name) {
  uint64_t packed = 0;
  if (name.size() > kLongestName) return 0;
  for (const char c : name) packed = packed << 8 | static_cast<unsigned char>(c);
  // Every byte of a name is a letter, so this bit alone is its case; other bytes that it changes
  // are those of no command.
  return packed | (packed & 0x4040404040404040) >> 1;
}

struct Index {
  std::vector<const Command*> all;
  absl::flat_hash_map<uint64_t, const Command*> by_name;

  Index() {
    for (const auto family : {string_commands(), set_command(), counter_commands(), key_commands(),
                              list_commands(), set_commands(), hash_commands(),
                              sorted_set_commands(), connection_commands(), server_commands()}) {
      for (const Command& command : family) {
        all.push_back(&command);
        by_name.emplace(packed(command.name), &command);
      }
    }
  }
};

const Index& index() {
  static const Index& index = *new Index;  // never destroyed: loops may still run at exit
  return index;
}

// What a client sent, cut and without what would break the line of an error.
std::string shown(std::string_view text) {
  constexpr size_t kMost = 64;
  std::string shown(text.substr(0, kMost));
  for (char& c : shown) {
    if (!absl::ascii_isprint(c)) c = '?';
  }
  return shown;
}

}  // namespace

bool Command::accepts(size_t args) const {
  const bool enough =
      arity >= 0 ? args == static_cast<size_t>(arity) : args >= static_cast<size_t>(-arity);
  return enough && (args - 1) % key_step() == 0;
}

const Command* find_command(std::string_view name) {
  const auto& commands = index().by_name;
  const auto found = commands.find(packed(name));
  // Zeros in front are lost in the number.
  const bool same = found != commands.end() && found->second->name.size() == name.size();
  return same ? found->second : nullptr;
}

std::span<const Command* const> all_commands() { return index().all; }

const Command* resolve(const Args& args, Reply& reply) {
  const Command* command = find_command(args[0]);
  if (command == nullptr) {
    reply.error("ERR unknown command '" + shown(args[0]) + "'");
  } else if (!command->accepts(args.size())) {
    reply.error("ERR wrong number of arguments for '" + std::string(command->name) + "'");
    command = nullptr;
  }
  return command;
}

}  // namespace gyre::kv
