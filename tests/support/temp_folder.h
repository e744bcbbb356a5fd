#ifndef GYRE_TESTS_SUPPORT_TEMP_FOLDER_H_
#define GYRE_TESTS_SUPPORT_TEMP_FOLDER_H_

#include <stdlib.h>

#include <filesystem>
#include <string>
#include <system_error>

#include "gtest/gtest.h"

namespace gyre::testing {

// A folder of a test's own, which goes with all that is in it. Under /tmp, not where the test
// runner says: that path alone may be longer than the 107 bytes that a Unix socket's may have
// (unix(7)).
class TempFolder {
 public:
  TempFolder() {
    char name[] = "/tmp/gyre-XXXXXX";
    if (::mkdtemp(name) == nullptr) {
      ADD_FAILURE() << "no folder under /tmp";
      return;
    }
    path_ = name;
  }
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;
  ~TempFolder() {
    if (path_.empty()) return;
    std::error_code ignored;
    std::filesystem::permissions(path_, std::filesystem::perms::owner_all, ignored);
    std::filesystem::remove_all(path_, ignored);
  }

  const std::string& path() const { return path_; }
  std::string file(const std::string& name) const { return path_ + "/" + name; }
  bool empty() const { return std::filesystem::is_empty(path_); }

 private:
  std::string path_;
};

}  // namespace gyre::testing

#endif  // GYRE_TESTS_SUPPORT_TEMP_FOLDER_H_
