#include "gyre/threading/cpu_affinity.h"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>

#include "gtest/gtest.h"

namespace gyre {
namespace {

using internal::cgroup_cpu_limit;

// A made-up /sys/fs/cgroup.
class CgroupCpuLimit : public ::testing::Test {
 protected:
  CgroupCpuLimit() : root_(::testing::TempDir() + "/cgroup") { std::filesystem::remove_all(root_); }
  ~CgroupCpuLimit() override { std::filesystem::remove_all(root_); }

  void write(const std::string& path, const std::string& text) {
    const std::filesystem::path file = root_ + "/" + path;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text;
  }
  void write_v1(const std::string& group, const std::string& quota, const std::string& period) {
    write("cpu/" + group + "/cpu.cfs_quota_us", quota + "\n");
    write("cpu/" + group + "/cpu.cfs_period_us", period + "\n");
  }
  double limit(const std::string& membership) { return cgroup_cpu_limit(root_, membership); }

  const std::string root_;
};

TEST_F(CgroupCpuLimit, IsNoneWithoutFiles) {
  EXPECT_EQ(limit(""), 0);
  EXPECT_EQ(limit("0::/\n"), 0);
  EXPECT_EQ(limit("0::/some/group\n"), 0);
  EXPECT_EQ(cgroup_cpu_limit("/nonexistent", "0::/\n4:cpu:/\n"), 0);
}

TEST_F(CgroupCpuLimit, OfVersion2IsQuotaOverPeriod) {
  write("app/cpu.max", "150000 100000\n");
  EXPECT_DOUBLE_EQ(limit("0::/app\n"), 1.5);
  write("app/cpu.max", "50000 100000\n");
  EXPECT_DOUBLE_EQ(limit("0::/app\n"), 0.5);
  write("app/cpu.max", "max 100000\n");
  EXPECT_EQ(limit("0::/app\n"), 0);
}

TEST_F(CgroupCpuLimit, OfVersion2InAContainerIsThatOfTheRoot) {
  write("cpu.max", "300000 100000\n");
  EXPECT_DOUBLE_EQ(limit("0::/\n"), 3);
  EXPECT_DOUBLE_EQ(limit("0::/a/group/that/is/not/mounted\n"), 3);
}

TEST_F(CgroupCpuLimit, IsTheSmallestOnTheWayToTheRoot) {
  write("cpu.max", "800000 100000\n");
  write("a/cpu.max", "200000 100000\n");
  write("a/b/cpu.max", "400000 100000\n");
  write("a/b/c/cpu.max", "max 100000\n");
  EXPECT_DOUBLE_EQ(limit("0::/a/b/c\n"), 2);
  EXPECT_DOUBLE_EQ(limit("0::/other\n"), 8);
}

TEST_F(CgroupCpuLimit, OfVersion1IsThatOfTheCpuController) {
  write_v1("docker/abc", "250000", "100000");
  EXPECT_DOUBLE_EQ(limit("5:memory:/docker/abc\n4:cpu,cpuacct:/docker/abc\n"), 2.5);
  EXPECT_DOUBLE_EQ(limit("4:cpuacct,cpu:/docker/abc\n"), 2.5);
  EXPECT_EQ(limit("4:cpuset:/docker/abc\n"), 0) << "another controller";
  EXPECT_EQ(limit("4:cpuacct:/docker/abc\n"), 0) << "another controller";
  write_v1("docker/abc", "-1", "100000");
  EXPECT_EQ(limit("4:cpu,cpuacct:/docker/abc\n"), 0) << "-1 is no quota";
}

TEST_F(CgroupCpuLimit, OfVersion1WhereTheGroupIsNotMountedIsThatOfTheRoot) {
  write_v1("", "100000", "50000");
  EXPECT_DOUBLE_EQ(limit("4:cpu,cpuacct:/docker/abc\n"), 2);
}

TEST_F(CgroupCpuLimit, OfBothVersionsIsTheSmaller) {
  write("app/cpu.max", "400000 100000\n");
  write_v1("app", "300000", "100000");
  EXPECT_DOUBLE_EQ(limit("4:cpu:/app\n0::/app\n"), 3);
  EXPECT_DOUBLE_EQ(limit("0::/app\n4:cpu:/app\n"), 3);
}

TEST_F(CgroupCpuLimit, IsNotDisturbedByGarbage) {
  for (const char* text : {"", "\n", "max", "0 100000", "-5 100000", "100000 0", "100000 -1", "x y",
                           "100000", "nan 100000"}) {
    write("app/cpu.max", text);
    EXPECT_EQ(limit("0::/app\n"), 0) << '"' << text << '"';
  }
  write("app/cpu.max", "200000 100000\n");
  for (const char* membership : {"nonsense", "::::", "0", "0:", ":\n:", "\n\n", "x:y"}) {
    EXPECT_EQ(limit(membership), 0) << membership;
  }
  EXPECT_DOUBLE_EQ(limit("nonsense\n\n0::/app"), 2) << "the last line has no newline";
  EXPECT_DOUBLE_EQ(limit("0::/app:with:colons\n0::/app\n"), 2);
}

TEST(UsableCpus, AreAtLeastOneAndNotMoreThanTheAffinityMaskHas) {
  const int cpus = usable_cpus();
  EXPECT_GE(cpus, 1);
  const size_t mask = affinity_mask().size();
  if (mask > 0) {
    EXPECT_LE(cpus, static_cast<int>(mask));
  }
}

#if defined(SCHED_BATCH)
TEST(BatchThisThread, IsOfThisThreadAlone) {
  std::thread([] {
    batch_this_thread();
    EXPECT_EQ(::sched_getscheduler(0), SCHED_BATCH);
  }).join();
  EXPECT_EQ(::sched_getscheduler(0), SCHED_OTHER);
}
#endif

TEST(AffinityMask, IsWhatTheThreadWasBoundTo) {
  const std::vector<int> all = affinity_mask();
  if (all.empty()) GTEST_SKIP() << "this platform does not say";
  EXPECT_TRUE(std::is_sorted(all.begin(), all.end()));
  for (int cpu : {all.front(), all.back()}) {
    std::thread([&] {
      EXPECT_TRUE(pin_this_thread(cpu).ok());
      EXPECT_EQ(affinity_mask(), std::vector<int>{cpu});
      EXPECT_EQ(usable_cpus(), 1);
    }).join();
  }
  EXPECT_EQ(affinity_mask(), all) << "it is a matter of each thread";
}

TEST(PinThisThread, ACpuThatDoesNotExistIsAnErrorAndChangesNothing) {
  const std::vector<int> before = affinity_mask();
  if (before.empty()) GTEST_SKIP() << "threads cannot be bound on this platform";
  for (int cpu : {-1, 1 << 30, 1023}) {
    if (std::find(before.begin(), before.end(), cpu) != before.end()) continue;
    EXPECT_EQ(pin_this_thread(cpu).code(), absl::StatusCode::kInvalidArgument) << cpu;
  }
  EXPECT_EQ(affinity_mask(), before);
}

TEST(NameThisThread, CutsWhatIsTooLong) {
  std::thread([] {
    char name[64] = "";
    name_this_thread("short");
    ASSERT_EQ(::pthread_getname_np(::pthread_self(), name, sizeof(name)), 0);
    EXPECT_STREQ(name, "short");
    name_this_thread("a name of more than fifteen bytes");
    ASSERT_EQ(::pthread_getname_np(::pthread_self(), name, sizeof(name)), 0);
    EXPECT_EQ(std::string("a name of more than fifteen bytes").rfind(name, 0), 0u);
    EXPECT_GE(std::string(name).size(), 15u);
  }).join();
}

}  // namespace
}  // namespace gyre
