// What a client asks about its connection, and tools about the server.

#include "gmock/gmock.h"
#include "gyre/tests/examples/kv_server/command_fixture.h"

namespace gyre::kv {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

using ConnectionCommands = CommandTest;
using ServerCommands = CommandTest;

TEST_F(ConnectionCommands, PingAndEchoAnswer) {
  EXPECT_EQ(run("PING"), "+PONG ");
  EXPECT_EQ(run("PING hi"), "$2 hi ");
  EXPECT_EQ(run("PING a b"), "-ERR wrong number of arguments for 'ping' ");
  EXPECT_EQ(run("ECHO hi"), "$2 hi ");
}

TEST_F(ConnectionCommands, QuitCloses) {
  EXPECT_FALSE(session_.closing);
  EXPECT_EQ(run("QUIT"), "+OK ");
  EXPECT_TRUE(session_.closing);
}

TEST_F(ConnectionCommands, ThereIsOneDatabase) {
  EXPECT_EQ(run("SELECT 0"), "+OK ");
  EXPECT_THAT(run("SELECT 1"), StartsWith("-ERR DB index is out of range"));
  EXPECT_EQ(run("SELECT x"), kNotAnInteger);
}

TEST_F(ConnectionCommands, HelloAnswersInResp2AndRefusesResp3) {
  EXPECT_EQ(run("HELLO"),
            "*14 $6 server $4 gyre $7 version $5 7.0.0 $5 proto :2 $2 id :1 $4 mode $10 standalone "
            "$4 role $6 master $7 modules *0 ");
  EXPECT_EQ(run("HELLO 2"), run("HELLO"));
  EXPECT_THAT(run("HELLO 3"), StartsWith("-NOPROTO "));
  EXPECT_THAT(run("HELLO x"), StartsWith("-ERR "));
  EXPECT_EQ(run("HELLO 2 SETNAME"), kSyntaxError);
  EXPECT_THAT(run("HELLO 2 SETNAME me"), StartsWith("*14 "));
  EXPECT_EQ(run("CLIENT GETNAME"), "$2 me ");
}

TEST_F(ConnectionCommands, ClientsHaveANameAndANumber) {
  EXPECT_EQ(run("CLIENT GETNAME"), "$-1 ");
  EXPECT_EQ(run("CLIENT SETNAME worker"), "+OK ");
  EXPECT_EQ(run("CLIENT GETNAME"), "$6 worker ");
  EXPECT_THAT(run("CLIENT SETNAME 'a b'"), StartsWith("-ERR "));
  EXPECT_EQ(run("CLIENT ID"), ":1 ");
  EXPECT_EQ(run("CLIENT SETINFO LIB-NAME x"), "+OK ");
  EXPECT_THAT(run("CLIENT LIST"), HasSubstr("id=1 name=worker"));
  EXPECT_THAT(run("CLIENT FROB"), StartsWith("-ERR "));
  EXPECT_EQ(Session(session_.server).id, 2u);
}

TEST_F(ServerCommands, ConfigGetTakesPatterns) {
  EXPECT_EQ(run("CONFIG GET save"), "*2 $4 save $0  ");
  EXPECT_EQ(run("CONFIG GET APPEND*"), "*2 $10 appendonly $2 no ");
  EXPECT_EQ(run("CONFIG GET s* databases sa*"), "*4 $9 databases $1 1 $4 save $0  ");
  EXPECT_EQ(run("CONFIG GET frob"), "*0 ");
  EXPECT_EQ(run("CONFIG RESETSTAT"), "+OK ");
  EXPECT_THAT(run("CONFIG SET save ''"), StartsWith("-ERR "));
  EXPECT_THAT(run("CONFIG GET"), StartsWith("-ERR "));
}

TEST_F(ServerCommands, InfoIsLinesOfNamesAndValues) {
  const std::string info = run("INFO");
  EXPECT_THAT(info, HasSubstr(" redis_version:7.0.0 "));
  EXPECT_THAT(info, HasSubstr(" connected_clients:1 "));
  EXPECT_THAT(info, HasSubstr(" role:master "));
}

TEST_F(ServerCommands, CommandDescribesThemAll) {
  const std::string count = std::to_string(all_commands().size());
  EXPECT_EQ(run("COMMAND COUNT"), ":" + count + " ");
  EXPECT_THAT(run("COMMAND"), StartsWith("*" + count + " *6 $3 get :2 *0 :1 :1 :1 "));
  EXPECT_EQ(run("COMMAND INFO mset frob ping"),
            "*3 *6 $4 mset :-3 *0 :1 :-1 :2 *-1 *6 $4 ping :-1 *0 :0 :0 :0 ");
  EXPECT_EQ(run("COMMAND DOCS"), "*0 ");
  EXPECT_THAT(run("COMMAND FROB"), StartsWith("-ERR "));
}

// Guards the index, which knows a name by eight bytes: all of them have to fit.
TEST_F(ServerCommands, EveryCommandIsFoundByItsNameInAnyCase) {
  for (const Command* command : all_commands()) {
    std::string name(command->name);
    EXPECT_EQ(find_command(name), command) << name;
    for (char& c : name) c = static_cast<char>(::toupper(c));
    EXPECT_EQ(find_command(name), command) << name;
    EXPECT_EQ(command->on_keys == nullptr, command->keys == Keys::kNone) << name;
    EXPECT_EQ(command->on_session != nullptr, command->keys == Keys::kNone) << name;
  }
  EXPECT_EQ(find_command(""), nullptr);
}

}  // namespace
}  // namespace gyre::kv
