// PING, ECHO, QUIT, SELECT, HELLO, CLIENT: what a client asks about its own connection.

#include <string>

#include "absl/strings/str_cat.h"
#include "gyre/examples/kv_server/command.h"
#include "gyre/examples/kv_server/words.h"

namespace gyre::kv {
namespace {

void ping(Session&, const Args& args, Reply& reply) {
  if (args.size() > 2) return reply.error("ERR wrong number of arguments for 'ping'");
  args.size() == 2 ? reply.bulk(args[1]) : reply.status("PONG");
}

void echo(Session&, const Args& args, Reply& reply) { reply.bulk(args[1]); }

void quit(Session& session, const Args&, Reply& reply) {
  session.closing = true;
  reply.ok();
}

void select(Session&, const Args& args, Reply& reply) {
  const auto number = parse_integer(args[1]);
  if (!number) return reply.not_an_integer();
  if (*number != 0) return reply.error("ERR DB index is out of range, there is only 0");
  reply.ok();
}

// A name is one word: CLIENT LIST shows it between spaces.
bool is_name(std::string_view name) {
  for (const char c : name) {
    if (c < '!' || c > '~') return false;
  }
  return true;
}

bool set_name(Session& session, std::string_view name, Reply& reply) {
  if (!is_name(name)) return reply.error("ERR a client's name has no spaces in it"), false;
  session.name = name;
  return true;
}

// HELLO [2 [SETNAME name]]. A client that asks for RESP3 is told so, and goes on with RESP2.
void hello(Session& session, const Args& args, Reply& reply) {
  if (args.size() > 1) {
    const auto version = parse_integer(args[1]);
    if (!version) return reply.error("ERR the protocol version is not an integer");
    if (*version != 2) return reply.error("NOPROTO this server speaks RESP2 only");
  }
  for (size_t i = 2; i < args.size(); i += 2) {
    if (!is_word(args[i], "setname") || i + 1 == args.size()) return reply.syntax_error();
    if (!set_name(session, args[i + 1], reply)) return;
  }
  reply.array(14);  // seven names, each with its value
  for (const std::string_view text : {"server", "gyre", "version", kProtocolVersion, "proto"})
    reply.bulk(text);
  reply.integer(2);
  reply.bulk("id");
  reply.integer(static_cast<int64_t>(session.id));
  for (const std::string_view text : {"mode", "standalone", "role", "master", "modules"})
    reply.bulk(text);
  reply.array(0);
}

void client(Session& session, const Args& args, Reply& reply) {
  const std::string_view what = args[1];
  const std::string description =
      absl::StrCat("id=", session.id, " name=", session.name, " db=0 resp=2");
  if (is_word(what, "setname") && args.size() == 3) {
    if (set_name(session, args[2], reply)) reply.ok();
  } else if (is_word(what, "getname") && args.size() == 2) {
    session.name.empty() ? reply.null() : reply.bulk(session.name);
  } else if (is_word(what, "id") && args.size() == 2) {
    reply.integer(static_cast<int64_t>(session.id));
  } else if (is_word(what, "setinfo") && args.size() == 4) {
    reply.ok();  // libraries tell their name and version, of which nothing is kept
  } else if (is_word(what, "list") || is_word(what, "info")) {
    reply.bulk(description + "\n");  // the others are on other loops
  } else {
    reply.error("ERR unknown subcommand of CLIENT, or wrong number of arguments");
  }
}

constexpr Command kCommands[] = {
    {.name = "ping", .arity = -1, .keys = Keys::kNone, .on_session = ping},
    {.name = "echo", .arity = 2, .keys = Keys::kNone, .on_session = echo},
    {.name = "quit", .arity = -1, .keys = Keys::kNone, .on_session = quit},
    {.name = "select", .arity = 2, .keys = Keys::kNone, .on_session = select},
    {.name = "hello", .arity = -1, .keys = Keys::kNone, .on_session = hello},
    {.name = "client", .arity = -2, .keys = Keys::kNone, .on_session = client},
};

}  // namespace

std::span<const Command> connection_commands() { return kCommands; }

}  // namespace gyre::kv
