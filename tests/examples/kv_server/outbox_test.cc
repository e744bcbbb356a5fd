#include "gyre/examples/kv_server/outbox.h"

#include <memory>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "gyre/testing/loop_fixture.h"

namespace gyre::kv {
namespace {

// Writes down what it is to send.
class Recorder final : public Outbox::Sender {
 public:
  Recorder(std::string name, std::vector<std::string>& sent)
      : name_(std::move(name)), sent_(sent) {}
  void send(std::string_view replies) override { sent_.push_back(name_ + std::string(replies)); }

 private:
  const std::string name_;
  std::vector<std::string>& sent_;
};

class OutboxTest : public ::testing::Test {
 protected:
  void add(const std::shared_ptr<Recorder>& sender, std::string_view reply) {
    outbox_.replies().raw(reply);
    outbox_.add(sender);
  }

  gyre::testing::LoopFixture fixture_;
  Outbox outbox_{fixture_.loop()};
  std::vector<std::string> sent_;
  std::shared_ptr<Recorder> a_ = std::make_shared<Recorder>("a:", sent_);
  std::shared_ptr<Recorder> b_ = std::make_shared<Recorder>("b:", sent_);
};

using Sent = std::vector<std::string>;

TEST_F(OutboxTest, SendsToEachWhatIsItsInOrderInTheNextIteration) {
  fixture_.loop().add_callback([this] {
    add(a_, "1");
    add(b_, "2");
    add(a_, "34");
    EXPECT_EQ(sent_, Sent{});
  });
  EXPECT_TRUE(fixture_.run_until_idle().ok());
  EXPECT_EQ(sent_, (Sent{"a:1", "b:2", "a:34"}));
}

TEST_F(OutboxTest, BeginsAnewAfterItHasSent) {
  for (int i = 0; i < 3; ++i) {
    sent_.clear();
    add(b_, "x");
    EXPECT_TRUE(fixture_.run_until_idle().ok());
    EXPECT_EQ(sent_, Sent{"b:x"});
  }
  EXPECT_EQ(outbox_.replies().size(), 0u);
}

// Guards the memory, and the order: what was there before goes first.
TEST_F(OutboxTest, SendsAtOnceWhatIsMuch) {
  const std::string much(100 * 1000, 'm');
  add(a_, "1");
  add(b_, much);
  EXPECT_EQ(sent_, (Sent{"a:1", "b:" + much}));
  EXPECT_TRUE(fixture_.run_until_idle().ok());
  EXPECT_EQ(sent_.size(), 2u);
}

TEST_F(OutboxTest, KeepsASenderUntilItHasSent) {
  add(a_, "1");
  const std::weak_ptr<Recorder> weak = a_;
  a_.reset();
  EXPECT_FALSE(weak.expired());
  EXPECT_TRUE(fixture_.run_until_idle().ok());
  EXPECT_EQ(sent_, Sent{"a:1"});
  EXPECT_TRUE(weak.expired());
}

}  // namespace
}  // namespace gyre::kv
