// Which backend a loop gets: by its options, by GYRE_BACKEND, by default.

#include <cstdlib>
#include <memory>
#include <optional>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "gyre/loop/io_loop.h"
#include "gyre/loop/poller/poller_factory.h"
#include "gyre/tests/support/loop_fixture.h"

namespace gyre::testing {
namespace {

using absl::StatusCode;
using ::testing::HasSubstr;

class GyreBackendVariable : public ::testing::Test {
 protected:
  GyreBackendVariable() {
    if (const char* value = std::getenv("GYRE_BACKEND")) previous_ = value;
    IOLoop::clear_current();
  }
  ~GyreBackendVariable() override {
    if (previous_.has_value()) {
      ::setenv("GYRE_BACKEND", previous_->c_str(), 1);
    } else {
      ::unsetenv("GYRE_BACKEND");
    }
  }
  static absl::StatusOr<std::unique_ptr<IOLoop>> create(Backend backend = Backend::kDefault) {
    IOLoopOptions options;
    options.backend = backend;
    options.make_current = false;
    return IOLoop::create(std::move(options));
  }

  LogCapture log_;
  std::optional<std::string> previous_;
};

TEST_F(GyreBackendVariable, WithoutItTheBestBackendIsTaken) {
  ::unsetenv("GYRE_BACKEND");
  auto loop = create();
  ASSERT_TRUE(loop.ok()) << loop.status();
  EXPECT_EQ((*loop)->backend(), available_backends().front());
  ::setenv("GYRE_BACKEND", "", 1);
  loop = create();
  ASSERT_TRUE(loop.ok()) << loop.status();
  EXPECT_EQ((*loop)->backend(), available_backends().front());
}

TEST_F(GyreBackendVariable, IsReadAtEachCreate) {
  for (int i = 0; i < 2; ++i) {
    for (Backend backend : available_backends()) {
      ::setenv("GYRE_BACKEND", std::string(to_string(backend)).c_str(), 1);
      auto loop = create();
      ASSERT_TRUE(loop.ok()) << loop.status();
      EXPECT_EQ((*loop)->backend(), backend);
    }
  }
}

TEST_F(GyreBackendVariable, AnUnknownNameIsInvalid) {
  for (const char* name : {"iocp", "EPOLL", "epoll ", "epol"}) {
    ::setenv("GYRE_BACKEND", name, 1);
    const absl::Status status = create().status();
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument) << name;
    EXPECT_THAT(std::string(status.message()), HasSubstr("GYRE_BACKEND"));
  }
}

TEST_F(GyreBackendVariable, DoesNotMatterWhereTheBackendWasChosen) {
  ::setenv("GYRE_BACKEND", "nonsense", 1);
  for (Backend backend : available_backends()) {
    auto loop = create(backend);
    ASSERT_TRUE(loop.ok()) << loop.status();
    EXPECT_EQ((*loop)->backend(), backend);
  }
}

TEST_F(GyreBackendVariable, ABackendThatIsNotCompiledInIsUnimplemented) {
  for (Backend backend : {Backend::kEpoll, Backend::kKqueue, Backend::kSelect}) {
    const internal::PollerMaker maker = internal::replace_backend(backend, nullptr);
    const absl::Status status = create(backend).status();
    ::setenv("GYRE_BACKEND", std::string(to_string(backend)).c_str(), 1);
    const absl::Status by_name = create().status();
    internal::replace_backend(backend, maker);
    EXPECT_EQ(status.code(), StatusCode::kUnimplemented) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(std::string(to_string(backend))));
    EXPECT_EQ(by_name.code(), StatusCode::kUnimplemented) << by_name;
  }
}

TEST_F(GyreBackendVariable, EveryPlatformHasABackend) {
  EXPECT_THAT(available_backends(), ::testing::Contains(Backend::kSelect));
}

TEST_F(GyreBackendVariable, NamesAreReadBack) {
  for (Backend backend : {Backend::kDefault, Backend::kEpoll, Backend::kKqueue, Backend::kSelect}) {
    auto parsed = parse_backend(to_string(backend));
    ASSERT_TRUE(parsed.ok());
    EXPECT_EQ(*parsed, backend);
  }
  EXPECT_EQ(parse_backend("poll").status().code(), StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace gyre::testing
