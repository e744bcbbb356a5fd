#include "gyre/loop/poller/poller_factory.h"

#include <array>
#include <cstdlib>
#include <string>
#include <utility>

#include "absl/strings/str_format.h"
#include "gyre/loop/poller/select_poller.h"

// The one place that knows which backend a platform has.
#if defined(__linux__)
#include "gyre/loop/poller/epoll_poller.h"
#define GYRE_HAS_EPOLL 1
#elif defined(__APPLE__) || defined(__FreeBSD__)
#include "gyre/loop/poller/kqueue_poller.h"
#define GYRE_HAS_KQUEUE 1
#endif

namespace gyre {
namespace {

struct Entry {
  Backend backend;
  std::string_view name;
  internal::PollerMaker create;  // nullptr: not compiled in
};

// The best first. Constant, but for tests.
constinit Entry g_backends[] = {
#if defined(GYRE_HAS_EPOLL)
    {Backend::kEpoll, "epoll", &internal::EpollPoller::create},
#else
    {Backend::kEpoll, "epoll", nullptr},
#endif
#if defined(GYRE_HAS_KQUEUE)
    {Backend::kKqueue, "kqueue", &internal::KqueuePoller::create},
#else
    {Backend::kKqueue, "kqueue", nullptr},
#endif
    {Backend::kSelect, "select", &internal::SelectPoller::create},
};

Entry* find(Backend backend) {
  for (Entry& entry : g_backends) {
    if (entry.backend == backend) return &entry;
  }
  return nullptr;
}

std::string names_of(const std::vector<Backend>& backends) {
  std::string names;
  for (const Backend backend : backends) {
    names.append(names.empty() ? "" : ", ").append(to_string(backend));
  }
  return names;
}

}  // namespace

std::string_view to_string(Backend backend) {
  const Entry* entry = find(backend);
  return entry != nullptr ? entry->name : "default";
}

absl::StatusOr<Backend> parse_backend(std::string_view name) {
  if (name == "default") return Backend::kDefault;
  for (const Entry& entry : g_backends) {
    if (entry.name == name) return entry.backend;
  }
  return absl::InvalidArgumentError(
      absl::StrFormat("unknown backend \"%s\": epoll, kqueue, select and default are known", name));
}

std::vector<Backend> available_backends() {
  std::vector<Backend> available;
  for (const Entry& entry : g_backends) {
    if (entry.create != nullptr) available.push_back(entry.backend);
  }
  return available;
}

absl::StatusOr<Backend> resolve_backend(Backend backend) {
  if (backend != Backend::kDefault) return backend;
  const char* name = std::getenv("GYRE_BACKEND");
  if (name != nullptr && *name != '\0') {
    absl::StatusOr<Backend> parsed = parse_backend(name);
    if (!parsed.ok()) {
      return absl::InvalidArgumentError(
          absl::StrFormat("GYRE_BACKEND: %s", std::string(parsed.status().message())));
    }
    if (*parsed != Backend::kDefault) return *parsed;
  }
  return available_backends().front();
}

absl::StatusOr<std::unique_ptr<Poller>> create_poller(Backend backend) {
  absl::StatusOr<Backend> resolved = resolve_backend(backend);
  if (!resolved.ok()) return resolved.status();
  const Entry* entry = find(*resolved);
  if (entry == nullptr) return absl::InvalidArgumentError("unknown backend");
  if (entry->create == nullptr) {
    return absl::UnimplementedError(
        absl::StrFormat("the %s backend is not compiled in on this platform; these are: %s",
                        entry->name, names_of(available_backends())));
  }
  return entry->create();
}

internal::PollerMaker internal::replace_backend(Backend backend, PollerMaker maker) {
  return std::exchange(find(backend)->create, maker);
}

}  // namespace gyre
