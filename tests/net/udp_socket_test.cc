// UDP, on every backend, with and without what the kernel has to make it cheap.

#include "gyre/net/udp_socket.h"

#include <sys/socket.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "gyre/loop/combinators.h"
#include "gyre/net/socket_address.h"
#include "gyre/tests/net/udp_fixture.h"
#include "gyre/tests/support/sockets.h"

namespace gyre::testing {
namespace {

using absl::StatusCode;
using ::testing::HasSubstr;

GYRE_FOR_EACH_BACKEND(UDPTest);

TEST_P(UDPTest, ADatagramComesWithItsSender) {
  for (const char* host : {"127.0.0.1", "::1"}) {
    const Socket a = bound({}, host), b = bound({}, host);
    std::string bytes;
    SocketAddress from;
    ASSERT_TRUE(b->set_receive_callback([&](std::string_view got, const SocketAddress& who) {
                   bytes = got;
                   from = who;
                 }).ok());
    ASSERT_TRUE(a->send_to("hello", b->local_address().value()).ok());
    run_until([&] { return !bytes.empty(); });
    EXPECT_EQ(bytes, "hello");
    EXPECT_EQ(from, a->local_address().value());
  }
}

TEST_P(UDPTest, AnEchoAnswersWhoeverSent) {
  const Socket server = bound();
  ASSERT_TRUE(server
                  ->set_receive_callback(
                      [socket = server.get()](std::string_view bytes, const SocketAddress& from) {
                        EXPECT_TRUE(socket->send_to(bytes, from).ok());
                      })
                  .ok());
  const Socket a = connected(server), b = connected(server);
  std::vector<std::string>&of_a = collect(a), &of_b = collect(b);
  ASSERT_TRUE(a->send("from a").ok());
  ASSERT_TRUE(b->send("from b").ok());
  run_until([&] { return !of_a.empty() && !of_b.empty(); });
  EXPECT_THAT(of_a, ::testing::ElementsAre("from a"));
  EXPECT_THAT(of_b, ::testing::ElementsAre("from b"));
}

TEST_P(UDPTest, EmptyAndLargestDatagramsComeWhole) {
  const Socket receiver = bound();
  const Socket sender = connected(receiver);
  std::vector<std::string>& received = collect(receiver);
  const std::string largest = numbered_bytes(UDPSocket::kMaxDatagramBytes);
  ASSERT_TRUE(sender->send("").ok());
  ASSERT_TRUE(sender->send(largest).ok());
  run_until([&] { return received.size() == 2; });
  EXPECT_EQ(received[0], "");
  EXPECT_EQ(received[1], largest);
}

TEST_P(UDPTest, ACoroutineReceivesOneAfterTheOther) {
  const Socket receiver = bound();
  const Socket sender = connected(receiver);
  run_task([&]() -> Task<void> {
    for (int i = 0; i < 3; ++i) EXPECT_TRUE(sender->send(std::to_string(i)).ok());
    for (int i = 0; i < 3; ++i) {
      const absl::StatusOr<UDPDatagram> datagram = co_await receiver->receive();
      EXPECT_TRUE(datagram.ok()) << datagram.status();
      EXPECT_EQ(datagram->bytes, std::to_string(i));
      EXPECT_EQ(datagram->from, sender->local_address().value());
    }
    EXPECT_TRUE(sender->send("later").ok());
    EXPECT_EQ((co_await receiver->receive())->bytes, "later");
  });
}

TEST_P(UDPTest, WhatACoroutineLeftGoesToTheCallback) {
  const Socket receiver = bound();
  const Socket sender = connected(receiver);
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(sender->send(std::to_string(i)).ok());
  run_task([&]() -> Task<void> { EXPECT_EQ((co_await receiver->receive())->bytes, "0"); });
  std::vector<std::string>& received = collect(receiver);
  ASSERT_TRUE(sender->send("5").ok());
  run_until([&] { return received.size() == 5; });
  EXPECT_THAT(received, ::testing::ElementsAre("1", "2", "3", "4", "5"));
}

TEST_P(UDPTest, AReceiveThatIsNotWaitedForAnyMoreTakesNothing) {
  use_time(TestTime::kVirtual);
  const Socket receiver = bound();
  const Socket sender = connected(receiver);
  run_task([&]() -> Task<void> {
    const auto receive = [&]() -> Task<std::string> {
      co_return (co_await receiver->receive())->bytes;
    };
    const absl::StatusOr<std::string> late =
        co_await with_timeout(std::chrono::milliseconds(1), receive());
    EXPECT_EQ(late.status().code(), StatusCode::kDeadlineExceeded);
    const VirtualTime::Hold hold(virtual_time_);  // for the kernel
    EXPECT_TRUE(sender->send("kept").ok());
    EXPECT_EQ(co_await receive(), "kept");
  });
}

TEST_P(UDPTest, ThereIsOneReceiverAtATime) {
  const Socket receiver = bound();
  const Socket sender = connected(receiver);
  absl::StatusOr<UDPDatagram> first;
  loop_->spawn_callback([&]() -> Task<void> { first = co_await receiver->receive(); });
  run_turns(2);
  run_task([&]() -> Task<void> {
    EXPECT_EQ((co_await receiver->receive()).status().code(), StatusCode::kFailedPrecondition);
  });
  EXPECT_EQ(receiver->set_receive_callback([](std::string_view, const SocketAddress&) {}).code(),
            StatusCode::kFailedPrecondition);
  ASSERT_TRUE(sender->send("for the first").ok());
  run_until([&] { return first.ok(); });
  EXPECT_EQ(first->bytes, "for the first");
  collect(receiver);
  run_task([&]() -> Task<void> {
    EXPECT_EQ((co_await receiver->receive()).status().code(), StatusCode::kFailedPrecondition);
  });
}

TEST_P(UDPTest, WithoutACallbackDatagramsWaitInTheKernel) {
  const Socket receiver = bound();
  const Socket sender = connected(receiver);
  std::vector<std::string>& received = collect(receiver);
  ASSERT_TRUE(sender->send("1").ok());
  run_until([&] { return received.size() == 1; });
  ASSERT_TRUE(receiver->set_receive_callback(nullptr).ok());
  ASSERT_TRUE(sender->send("2").ok());
  run_turns(5);
  std::vector<std::string>& later = collect(receiver);
  run_until([&] { return later.size() == 1; });
  EXPECT_THAT(received, ::testing::ElementsAre("1"));
}

// ---- Errors

TEST_P(UDPTest, NobodyListeningIsUnavailableForWhoWaits) {
  const SocketAddress address = nobody();
  const Socket socket = UDPSocket::connect(*loop_, address).value();
  run_task([&]() -> Task<void> {
    EXPECT_TRUE(socket->send("anybody?").ok());
    const absl::Status status = (co_await socket->receive()).status();
    EXPECT_EQ(status.code(), StatusCode::kUnavailable) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(address.to_string()));
  });
  EXPECT_FALSE(socket->closed());
}

TEST_P(UDPTest, NobodyListeningIsToldToTheErrorCallback) {
  const Socket socket = UDPSocket::connect(*loop_, nobody()).value();
  absl::Status error;
  collect(socket);
  socket->set_error_callback([&](const absl::Status& status) { error = status; });
  ASSERT_TRUE(socket->send("anybody?").ok());
  run_until([&] { return !error.ok(); });
  EXPECT_EQ(error.code(), StatusCode::kUnavailable) << error;
}

TEST_P(UDPTest, NobodyListeningIsTheResultOfALaterSend) {
  const Socket socket = UDPSocket::connect(*loop_, nobody()).value();
  absl::Status status;
  run_until([&] {
    status = socket->send("anybody?");
    return !status.ok();
  });
  EXPECT_EQ(status.code(), StatusCode::kUnavailable) << status;
}

TEST_P(UDPTest, AnErrorDoesNotSpin) {
  use_time(TestTime::kVirtual);
  const Socket socket = UDPSocket::connect(*loop_, nobody()).value();
  ASSERT_TRUE(socket->send("anybody?").ok());
  run_turns(3);
  const uint64_t before = loop_->metrics().iterations;
  run_task([&]() -> Task<void> { co_await sleep_for(std::chrono::milliseconds(30)); });
  EXPECT_LT(loop_->metrics().iterations - before, 20u);
}

TEST_P(UDPTest, BadArgumentsAreErrorsThatNameThem) {
  const Socket socket = bound(), peer = bound();
  const Socket toward_peer = connected(peer);
  const std::string too_large(UDPSocket::kMaxDatagramBytes + 1, 'x');
  UDPOptions negative;
  negative.receive_buffer_bytes = -1;
  const std::pair<absl::Status, std::string> kInvalid[] = {
      {socket->send_to(too_large, peer->local_address().value()), "65508"},
      {socket->send_to("x", loopback(0)), "127.0.0.1:0"},
      {socket->send_to("x", loopback(1, "::1")), "[::1]:1"},
      {socket->send_to("x", SocketAddress()), "(no address)"},
      {UDPSocket::bind(*loop_, SocketAddress()).status(), "(no address)"},
      {UDPSocket::bind(*loop_, *SocketAddress::parse("unix:@x", 0)).status(), "unix:@x"},
      {UDPSocket::bind(*loop_, loopback(), negative).status(), "negative"},
      {UDPSocket::connect(*loop_, loopback(0)).status(), "127.0.0.1:0"},
  };
  for (const auto& [status, text] : kInvalid) {
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(text));
  }
  EXPECT_EQ(socket->send("x").code(), StatusCode::kFailedPrecondition);
  EXPECT_EQ(toward_peer->send_to("x", loopback(1)).code(), StatusCode::kFailedPrecondition);
  const absl::Status taken = UDPSocket::bind(*loop_, socket->local_address().value()).status();
  EXPECT_EQ(taken.code(), StatusCode::kAlreadyExists) << taken;
  EXPECT_THAT(std::string(taken.message()), HasSubstr(socket->local_address()->to_string()));
}

// ---- The queue

TEST_P(UDPTest, WhatIsSentUnderACorkGoesOutTogetherAndInOrder) {
  const Socket receiver = bound();
  const Socket sender = connected(receiver);
  std::vector<std::string>& received = collect(receiver);
  const uint64_t calls = sender->stats().send_calls;
  {
    const UDPSocket::Cork cork(*sender);
    for (int i = 0; i < 30; ++i) ASSERT_TRUE(sender->send(std::to_string(100 + i)).ok());
    EXPECT_EQ(sender->stats().send_calls, calls);
    EXPECT_EQ(sender->send_queue_bytes(), 90u);
  }
  EXPECT_EQ(sender->send_queue_bytes(), 0u);
  run_until([&] { return received.size() == 30; });
  for (int i = 0; i < 30; ++i) EXPECT_EQ(received[i], std::to_string(100 + i));
}

TEST_P(UDPTest, AFullQueueRefusesAndSaysSo) {
  UDPOptions options;
  options.max_send_queue_bytes = 100;
  const Socket receiver = bound();
  const Socket sender = connected(receiver, options);
  std::vector<std::string>& received = collect(receiver);
  absl::Status too_large;
  {
    const UDPSocket::Cork cork(*sender);
    too_large = sender->send(std::string(101, 'x'));
    for (int i = 0; i < 5; ++i) EXPECT_TRUE(sender->send(std::string(60, 'x')).ok());
  }
  EXPECT_EQ(too_large.code(), StatusCode::kResourceExhausted) << too_large;
  EXPECT_THAT(std::string(too_large.message()), HasSubstr("100"));
  run_until([&] { return received.size() == 5; });
}

// ---- Closing

TEST_P(UDPTest, ClosingTellsWhoWaits) {
  const int fds = count_open_fds();
  Socket socket = bound();
  absl::Status status;
  loop_->spawn_callback([&]() -> Task<void> { status = (co_await socket->receive()).status(); });
  run_turns(2);
  socket->close();
  socket->close();
  EXPECT_TRUE(status.ok()) << "never inside of close()";
  run_until([&] { return !status.ok(); });
  EXPECT_EQ(status.code(), StatusCode::kCancelled);
  EXPECT_EQ(count_open_fds(), fds);
  EXPECT_EQ(socket->send("x").code(), StatusCode::kFailedPrecondition);
  EXPECT_EQ(socket->local_address().status().code(), StatusCode::kFailedPrecondition);
  EXPECT_EQ(socket->set_receive_callback(nullptr).code(), StatusCode::kFailedPrecondition);
  run_task([&]() -> Task<void> {
    EXPECT_EQ((co_await socket->receive()).status().code(), StatusCode::kFailedPrecondition);
  });
}

TEST_P(UDPTest, ASocketMayBeDestroyedInItsOwnCallback) {
  const int fds = count_open_fds();
  Socket receiver = bound();
  const Socket sender = connected(receiver);
  int received = 0;
  ASSERT_TRUE(receiver
                  ->set_receive_callback([&](std::string_view, const SocketAddress&) {
                    ++received;
                    receiver.reset();
                  })
                  .ok());
  {
    const UDPSocket::Cork cork(*sender);
    for (int i = 0; i < 10; ++i) ASSERT_TRUE(sender->send("x").ok());
  }
  run_until([&] { return received > 0; });
  run_turns(2);
  EXPECT_EQ(count_open_fds(), fds + 1);
}

TEST_P(UDPTest, ACallbackMayReplaceItself) {
  const Socket receiver = bound();
  const Socket sender = connected(receiver);
  std::vector<std::string>* second = nullptr;
  ASSERT_TRUE(receiver
                  ->set_receive_callback(
                      [&](std::string_view, const SocketAddress&) { second = &collect(receiver); })
                  .ok());
  {
    const UDPSocket::Cork cork(*sender);
    for (int i = 0; i < 3; ++i) ASSERT_TRUE(sender->send("x").ok());
  }
  run_until([&] { return second != nullptr && second->size() == 2; });
}

TEST_P(UDPTest, ACallbackThatThrowsIsLoggedAndTheSocketGoesOn) {
  log_.expect(LogLevel::kError, "from the receive callback");
  const Socket receiver = bound();
  const Socket sender = connected(receiver);
  bool thrown = false;
  std::string received;
  ASSERT_TRUE(receiver
                  ->set_receive_callback([&](std::string_view bytes, const SocketAddress&) {
                    if (!std::exchange(thrown, true)) {
                      throw std::runtime_error("from the receive callback");
                    }
                    received = bytes;
                  })
                  .ok());
  ASSERT_TRUE(sender->send("1").ok());
  run_until([&] { return thrown; });
  ASSERT_TRUE(sender->send("2").ok());
  run_until([&] { return received == "2"; });
}

TEST_P(UDPTest, ALoopThatIsClosedFirstLeavesTheSocketToItsOwner) {
  for (const bool all_fds : {false, true}) {
    const int fds = count_open_fds();
    {
      std::unique_ptr<IOLoop> loop = make_loop();
      Socket socket = UDPSocket::bind(*loop, loopback()).value();
      loop->spawn_callback([&]() -> Task<void> { static_cast<void>(co_await socket->receive()); });
      run_turns(*loop, 2);
      EXPECT_TRUE(loop->close(all_fds).ok());
      loop.reset();
    }
    EXPECT_EQ(count_open_fds(), fds);
  }
}

}  // namespace
}  // namespace gyre::testing
