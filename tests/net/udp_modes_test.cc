// UDP by each way that the kernel has to make it cheap: the same datagrams.

#include <sys/socket.h>

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "gyre/net/socket_address.h"
#include "gyre/net/udp_socket.h"
#include "gyre/tests/net/udp_fixture.h"
#include "gyre/tests/support/loop_fixture.h"
#include "gyre/tests/support/sockets.h"

namespace gyre::testing {
namespace {

// What has to make no difference but in the cost.
struct Mode {
  const char* name;
  bool batches;
  bool segmentation;
};
constexpr Mode kModes[] = {
    {"one_by_one", false, false}, {"batches", true, false}, {"segments", true, true}};

class UDPModes : public UDPTest {
 protected:
  static UDPOptions options(const Mode& mode) {
    UDPOptions options;
    options.batches = mode.batches;
    options.segmentation = mode.segmentation;
    options.receive_buffer_bytes = 4 << 20;
    return options;
  }
};
GYRE_FOR_EACH_BACKEND(UDPModes);

// Sizes that can go out as segments, that cannot, and runs that end with a shorter one.
std::vector<std::string> mixed_datagrams() {
  const std::string bytes = numbered_bytes(40000);
  std::vector<std::string> datagrams;
  size_t at = 0;
  for (const size_t size : {1200,  1200, 1200, 700,  1200, 0, 0,   3,   3,   3,   3,   1, 5,
                            20000, 1472, 1472, 1473, 9,    0, 100, 100, 100, 100, 100, 99}) {
    datagrams.push_back(bytes.substr(at, size));
    at += size / 2;
  }
  for (int i = 0; i < 150; ++i) datagrams.push_back(bytes.substr(i, 64));
  return datagrams;
}

TEST_P(UDPModes, TheSameDatagramsComeInTheSameOrder) {
  const std::vector<std::string> sent = mixed_datagrams();
  for (const Mode& from : kModes) {
    for (const Mode& to : kModes) {
      const Socket receiver = bound(options(to));
      const Socket sender = connected(receiver, options(from));
      std::vector<std::string>& received = collect(receiver);
      // A part at a time: what does not fit into the receiver's buffer would be lost.
      for (size_t i = 0; i < sent.size(); i += 25) {
        const size_t end = std::min(sent.size(), i + 25);
        {
          const UDPSocket::Cork cork(*sender);
          for (size_t d = i; d < end; ++d) ASSERT_TRUE(sender->send(sent[d]).ok());
        }
        run_until([&] { return received.size() == end; });
      }
      EXPECT_EQ(received, sent) << from.name << " to " << to.name;
      EXPECT_EQ(sender->stats().sent, sent.size());
      EXPECT_EQ(sender->stats().dropped, 0u);
      EXPECT_EQ(receiver->stats().received, sent.size());
    }
  }
}

TEST_P(UDPModes, SeveralPeersEachGetTheirOwn) {
  for (const Mode& mode : kModes) {
    const Socket a = bound(options(mode)), b = bound(options(mode)), sender = bound(options(mode));
    std::vector<std::string>&of_a = collect(a), &of_b = collect(b);
    {
      const UDPSocket::Cork cork(*sender);
      for (int i = 0; i < 20; ++i) {
        const Socket& to = i % 5 < 3 ? a : b;
        ASSERT_TRUE(sender->send_to(std::to_string(i), to->local_address().value()).ok());
      }
    }
    run_until([&] { return of_a.size() == 12 && of_b.size() == 8; });
    EXPECT_EQ(of_a.back(), "17");
    EXPECT_EQ(of_b.back(), "19");
  }
}

#if defined(__linux__)
// What it is for: fewer system calls, exactly.
TEST_P(UDPModes, BatchesAndSegmentsSaveSystemCalls) {
  constexpr int kDatagrams = 128;
  const std::string bytes(1000, 'x');
  std::vector<uint64_t> sends, receives;
  for (const Mode& mode : kModes) {
    const Socket receiver = bound(options(mode));
    const Socket sender = connected(receiver, options(mode));
    std::vector<std::string>& received = collect(receiver);
    {
      const UDPSocket::Cork cork(*sender);
      for (int i = 0; i < kDatagrams; ++i) ASSERT_TRUE(sender->send(bytes).ok());
    }
    sends.push_back(sender->stats().send_calls);
    run_until([&] { return received.size() == kDatagrams; });
    receives.push_back(receiver->stats().receive_calls);
  }
  EXPECT_EQ(sends[0], static_cast<uint64_t>(kDatagrams));
  EXPECT_GE(receives[0], static_cast<uint64_t>(kDatagrams));
  EXPECT_LE(receives[1], static_cast<uint64_t>(kDatagrams / 32 + 2));
  EXPECT_LE(receives[2], static_cast<uint64_t>(kDatagrams / 32 + 2));
  EXPECT_EQ(sends[1], static_cast<uint64_t>(kDatagrams / 32));  // 32 datagrams in each
  EXPECT_EQ(sends[2], 1u);                                      // 64 datagrams in each message
}

// A socket that pretends to have a kernel without segmentation sends what the other one sends.
TEST_P(UDPModes, ASegmentThatIsTooLargeForThePathIsSentInFragments) {
  const UDPOptions with = options(kModes[2]);
  const Socket receiver = bound(options(kModes[0]));
  const Socket sender = connected(receiver, with);
  std::vector<std::string>& received = collect(receiver);
  const std::string large = numbered_bytes(30000);
  {
    const UDPSocket::Cork cork(*sender);
    for (int i = 0; i < 4; ++i) ASSERT_TRUE(sender->send(large).ok());
  }
  run_until([&] { return received.size() == 4; });
  for (const std::string& datagram : received) EXPECT_EQ(datagram, large);
}
#endif

}  // namespace
}  // namespace gyre::testing
