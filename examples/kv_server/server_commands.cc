// INFO, CONFIG, COMMAND: what tools ask about the server.

#include <fnmatch.h>
#include <unistd.h>

#include <chrono>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "gyre/examples/kv_server/command.h"
#include "gyre/examples/kv_server/words.h"

namespace gyre::kv {
namespace {

// Sections of "name:value" lines. Whichever section is asked for, all come: they are short.
void info(Session& session, const Args&, Reply& reply) {
  const ServerState& server = *session.server;
  const uint64_t accepted = server.accepted.load(std::memory_order_relaxed);
  const uint64_t closed = server.closed.load(std::memory_order_relaxed);
  const auto uptime = std::chrono::duration_cast<std::chrono::seconds>(
      MonotonicClock::steady().now() - server.started);
  std::string text = "# Server\r\n";
  const auto line = [&](const char* name, const auto& value) {
    absl::StrAppend(&text, name, ":", value, "\r\n");
  };
  line("server_name", "gyre");
  line("redis_version", kProtocolVersion);  // by this name clients look for what they may use
  line("redis_mode", "standalone");
  line("process_id", ::getpid());
  line("uptime_in_seconds", uptime.count());
  line("io_threads_active", server.loops);
  text += "\r\n# Clients\r\n";
  line("connected_clients", accepted - closed);
  text += "\r\n# Stats\r\n";
  line("total_connections_received", accepted);
  text += "\r\n# Replication\r\n";
  line("role", "master");
  reply.bulk(text);
}

// Parameters are fixed; those that tools want to see are here.
void config_get(const Args& args, Reply& reply) {
  constexpr std::pair<const char*, std::string_view> kParameters[] = {
      {"appendonly", "no"}, {"databases", "1"}, {"maxmemory", "0"}, {"save", ""}};
  std::string_view found[2 * std::size(kParameters)];
  size_t count = 0;
  for (const auto& [name, value] : kParameters) {
    for (size_t i = 2; i < args.size(); ++i) {
      if (::fnmatch(std::string(args[i]).c_str(), name, FNM_CASEFOLD) != 0) continue;
      found[count++] = name;
      found[count++] = value;
      break;
    }
  }
  reply.array(count);
  for (size_t i = 0; i < count; ++i) reply.bulk(found[i]);
}

void config(Session&, const Args& args, Reply& reply) {
  if (is_word(args[1], "get") && args.size() > 2) return config_get(args, reply);
  if (is_word(args[1], "resetstat")) return reply.ok();
  reply.error("ERR CONFIG can only GET here: the parameters are fixed");
}

// Name, arity, flags, and where the keys are: first, last, step.
void describe(const Command& command, Reply& reply) {
  const bool has_keys = command.keys != Keys::kNone && command.keys != Keys::kEveryShard;
  reply.array(6);
  reply.bulk(command.name);
  reply.integer(command.arity);
  reply.array(0);
  reply.integer(has_keys);
  reply.integer(has_keys ? (command.keys == Keys::kFirst ? 1 : -1) : 0);
  reply.integer(has_keys ? static_cast<int64_t>(command.key_step()) : 0);
}

void command_info(const Args& args, Reply& reply) {
  reply.array(args.size() - 2);
  for (size_t i = 2; i < args.size(); ++i) {
    const Command* command = find_command(args[i]);
    command != nullptr ? describe(*command, reply) : reply.null_array();
  }
}

void command(Session&, const Args& args, Reply& reply) {
  if (args.size() == 1) {
    reply.array(all_commands().size());
    for (const Command* each : all_commands()) describe(*each, reply);
  } else if (is_word(args[1], "count")) {
    reply.integer(static_cast<int64_t>(all_commands().size()));
  } else if (is_word(args[1], "info")) {
    command_info(args, reply);
  } else if (is_word(args[1], "docs")) {
    reply.array(0);  // redis-cli asks when it starts, and does without
  } else {
    reply.error("ERR unknown subcommand of COMMAND");
  }
}

constexpr Command kCommands[] = {
    {.name = "info", .arity = -1, .keys = Keys::kNone, .on_session = info},
    {.name = "config", .arity = -2, .keys = Keys::kNone, .on_session = config},
    {.name = "command", .arity = -1, .keys = Keys::kNone, .on_session = command},
};

}  // namespace

std::span<const Command> server_commands() { return kCommands; }

}  // namespace gyre::kv
