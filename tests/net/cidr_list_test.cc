#include "gyre/net/cidr_list.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace gyre::testing {
namespace {

using absl::StatusCode;
using ::testing::HasSubstr;

bool contains(const std::string& list, const std::string& host) {
  const absl::StatusOr<CidrList> parsed = CidrList::parse(list);
  EXPECT_TRUE(parsed.ok()) << parsed.status();
  return parsed->contains(*SocketAddress::parse(host, 1234));
}

TEST(CidrList, ContainsTheAddressesOfItsNetworks) {
  const struct {
    const char* list;
    const char* host;
    bool contains;
  } kCases[] = {
      {"10.0.0.0/8", "10.255.1.2", true},
      {"10.0.0.0/8", "11.0.0.0", false},
      {"192.0.2.128/25", "192.0.2.128", true},
      {"192.0.2.128/25", "192.0.2.127", false},
      {"192.0.2.7", "192.0.2.7", true},
      {"192.0.2.7", "192.0.2.8", false},
      {"192.0.2.6/31", "192.0.2.7", true},
      {"0.0.0.0/0", "255.255.255.255", true},
      {"0.0.0.0/0", "::1", false},
      {"::/0", "2001:db8::1", true},
      {"2001:db8::/32", "2001:db8:ffff::1", true},
      {"2001:db8::/32", "2001:db9::", false},
      {"::1", "::1", true},
      {"10.0.0.0/8, ::1 ,192.0.2.7", "192.0.2.7", true},
      {"", "127.0.0.1", false},
      {"unix", "unix:/run/lb.sock", true},
      {"unix", "127.0.0.1", false},
      {"0.0.0.0/0", "unix:/run/lb.sock", false},
  };
  for (const auto& c : kCases) EXPECT_EQ(contains(c.list, c.host), c.contains) << c.list;
}

// As accept(2) gives it on a socket that takes both families.
TEST(CidrList, AMappedAddressIsOneOfIPv4) {
  EXPECT_TRUE(contains("10.0.0.0/8", "::ffff:10.1.2.3"));
  EXPECT_FALSE(contains("10.0.0.0/8", "::ffff:11.1.2.3"));
}

TEST(CidrList, ContainsNoAddressOfNoFamily) {
  EXPECT_FALSE(CidrList::parse("0.0.0.0/0,::/0,unix")->contains(SocketAddress()));
}

TEST(CidrList, WhatIsNoNetworkIsNamedWithTheReason) {
  const struct {
    const char* entry;
    const char* reason;
  } kCases[] = {
      {"localhost", "not numeric"},
      {"10.0.0.0/", "from 0 to 32"},
      {"10.0.0.0/33", "from 0 to 32"},
      {"10.0.0.0/-1", "from 0 to 32"},
      {"10.0.0.0/8x", "from 0 to 32"},
      {"10.0.0.0/+8", "from 0 to 32"},
      {"::/129", "from 0 to 128"},
      {"10.0.0.1/8", "bits behind the first 8"},
      {"2001:db8::1/32", "bits behind the first 32"},
      {"unix:/run/x", "not numeric"},
      {"10.0.0/8", "not numeric"},
      {"/8", "not numeric"},
  };
  for (const auto& c : kCases) {
    const std::vector<std::string> entries{"127.0.0.1", c.entry};
    const absl::Status status = CidrList::parse(entries).status();
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument) << c.entry;
    EXPECT_THAT(std::string(status.message()), HasSubstr("\"" + std::string(c.entry) + "\""));
    EXPECT_THAT(std::string(status.message()), HasSubstr(c.reason));
  }
  EXPECT_THAT(std::string(CidrList::parse("10.0.0.0/8,,::1").status().message()),
              HasSubstr("\"\""));
}

}  // namespace
}  // namespace gyre::testing
