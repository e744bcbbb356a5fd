#ifndef GYRE_TESTS_EXAMPLES_KV_SERVER_COMMAND_FIXTURE_H_
#define GYRE_TESTS_EXAMPLES_KV_SERVER_COMMAND_FIXTURE_H_

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "gtest/gtest.h"
#include "gyre/examples/kv_server/command.h"
#include "gyre/examples/kv_server/inline_request.h"
#include "gyre/testing/manual_clock.h"

namespace gyre::kv {

// The commands on one keyspace, whose clock the test turns.
class CommandTest : public ::testing::Test {
 protected:
  // The reply to a line as a person types it, with the ends of its lines shown as spaces:
  // "*2 $1 a $1 b ".
  std::string run(std::string_view line) {
    std::string bytes;
    std::vector<Span> spans;
    EXPECT_TRUE(split_inline(line, bytes, spans)) << line;
    const Args args(bytes.data(), spans);
    Reply reply;
    if (const Command* command = resolve(args, reply)) {
      if (command->on_keys != nullptr) {
        command->on_keys(keys_, args, reply);
      } else {
        command->on_session(session_, args, reply);
      }
    }
    std::string shown;
    for (const char c : reply.view()) {
      if (c != '\r') shown.push_back(c == '\n' ? ' ' : c);
    }
    return shown;
  }

  gyre::testing::ManualClock clock_;
  Keyspace keys_{clock_};
  Session session_{std::make_shared<ServerState>(1)};
};

inline constexpr char kWrongType[] = "-WRONGTYPE the key holds a value of another kind ";
inline constexpr char kNotAnInteger[] = "-ERR value is not an integer or out of range ";
inline constexpr char kSyntaxError[] = "-ERR syntax error ";

}  // namespace gyre::kv

#endif  // GYRE_TESTS_EXAMPLES_KV_SERVER_COMMAND_FIXTURE_H_
