#ifndef GYRE_EXAMPLES_KV_SERVER_COMMAND_H_
#define GYRE_EXAMPLES_KV_SERVER_COMMAND_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "gyre/examples/kv_server/args.h"
#include "gyre/examples/kv_server/keyspace.h"
#include "gyre/examples/kv_server/reply.h"
#include "gyre/examples/kv_server/session.h"

namespace gyre::kv {

// Where a request has its keys, and so which shards it concerns.
enum class Keys : uint8_t {
  kNone,        // it runs where its connection is
  kFirst,       // its first argument
  kEach,        // every argument: it may be cut into one request for each
  kPairs,       // every other argument: into one for each key and value
  kEveryShard,  // all there are
};

// How the replies to the pieces of a request become one.
enum class Merge : uint8_t {
  kOne,    // they are alike: any of them
  kSum,    // integers
  kArray,  // arrays of one element each: an array of these elements
};

// A command: what its requests look like, and the function that runs one and writes one reply.
struct Command {
  using OnKeys = void (*)(Keyspace& keys, const Args& args, Reply& reply);
  using OnSession = void (*)(Session& session, const Args& args, Reply& reply);

  std::string_view name;  // in lower case
  int arity;              // arguments with the name; negative: at least so many
  Keys keys;
  OnKeys on_keys = nullptr;  // of a command with keys
  Merge merge = Merge::kOne;
  OnSession on_session = nullptr;  // of one without

  // Distance from one key to the next.
  size_t key_step() const { return keys == Keys::kPairs ? 2 : 1; }
  bool accepts(size_t args) const;
};

// By name, in any case; nullptr: there is no such command.
const Command* find_command(std::string_view name);
std::span<const Command* const> all_commands();

// The command that a request names, if it has the right number of arguments. nullptr: the error is
// in `reply`.
const Command* resolve(const Args& args, Reply& reply);

// One family each, with the functions in the file of its name.
std::span<const Command> string_commands();
std::span<const Command> set_command();
std::span<const Command> counter_commands();
std::span<const Command> key_commands();
std::span<const Command> list_commands();
std::span<const Command> set_commands();
std::span<const Command> hash_commands();
std::span<const Command> sorted_set_commands();
std::span<const Command> connection_commands();
std::span<const Command> server_commands();

}  // namespace gyre::kv

#endif  // GYRE_EXAMPLES_KV_SERVER_COMMAND_H_
