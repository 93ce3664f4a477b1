// Runs on a filesystem that really is full: one clear line, a non-zero exit, nothing acknowledged is lost, and the same
// command goes on once there is space. The small filesystem is a tmpfs in a mount namespace of this program's own.
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "actors/supervisor.h"
#include "launch/data/jsonl.h"
#include "tests/integration/train_fixture.h"

namespace cohort {
namespace {

using testing::AnyOf;
using testing::HasSubstr;

// Once for the whole program, while it has one thread: from here on what it mounts is seen by it and its children only.
bool own_mounts() {
  static const bool done = [] {
    const uid_t user = geteuid();
    const gid_t group = getegid();
    if (unshare(user == 0 ? CLONE_NEWNS : CLONE_NEWUSER | CLONE_NEWNS) != 0) return false;
    if (user != 0) {
      std::ofstream("/proc/self/setgroups") << "deny";
      std::ofstream("/proc/self/uid_map") << "0 " << user << " 1";
      std::ofstream("/proc/self/gid_map") << "0 " << group << " 1";
    }
    return mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0;
  }();
  return done;
}

class FullDisk : public TrainProcess {
 protected:
  // The run folder becomes a filesystem of `kb`; false where that is not allowed.
  bool small(int kb) {
    std::filesystem::create_directories(dir());
    if (!own_mounts()) return false;
    mounted_ =
        mount("cohort-test", dir().c_str(), "tmpfs", 0, ("size=" + std::to_string(kb) + "k").c_str()) == 0;
    return mounted_;
  }
  ~FullDisk() override {
    if (mounted_) umount2(dir().c_str(), MNT_DETACH);
  }
  int64_t free_bytes() const {
    struct statvfs info {};
    return statvfs(dir().c_str(), &info) == 0 ? static_cast<int64_t>(info.f_bavail * info.f_frsize) : 0;
  }
  // Leaves `kb` of it.
  void fill(int64_t kb) const {
    const int fd = open(filler().c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    const std::string block(4096, 'x');
    while (free_bytes() > kb * 1024 && write(fd, block.data(), block.size()) > 0) {
    }
    close(fd);
  }
  void make_space() const { std::filesystem::remove(filler()); }
  std::string filler() const { return dir() + "/filler"; }

  static int lines(const std::string& text) {
    return static_cast<int>(std::count(text.begin(), text.end(), '\n'));
  }
  bool mounted_ = false;
};

#define NEEDS_SMALL(kb) \
  if (!small(kb)) GTEST_SKIP() << "no mount namespace for a small filesystem"

// The ledger, the learner's metrics and every log meet the end of the disk at about the same time: whichever is first
// says so.
TEST_F(FullDisk, ATrainingRunStopsWithOneLineAndGoesOn) {
  NEEDS_SMALL(64 * 1024);
  const std::vector<std::string> command = train({"run.total_steps=60", "run.save_steps=4"});
  {
    Process p(folder, command);
    ASSERT_TRUE(reaches(p, 8)) << p.output();
    fill(0);
    const Outcome out = p.wait(120);
    EXPECT_EQ(out.code, 1) << out.error;
    EXPECT_TRUE(p.all_gone(0.5));
    EXPECT_THAT(out.error, AnyOf(HasSubstr("disk is full"), HasSubstr("No space left"))) << out.error;
    EXPECT_LE(lines(out.error), 3) << out.error;
  }
  {
    const Outcome still = run(folder, command);  // no space yet
    EXPECT_EQ(still.code, 1) << still.output;
    EXPECT_THAT(still.error, AnyOf(HasSubstr("disk is full"), HasSubstr("No space left"))) << still.error;
  }
  make_space();
  EXPECT_GE(formed(), 8) << "what was acknowledged is there";
  EXPECT_GE(checkpointed(), 4);
  const Outcome rest = run(folder, command, 120);
  ASSERT_EQ(rest.code, 0) << rest.output << rest.error;
  expect_whole(60);
}

// The ledger still finds room, a checkpoint does not.
TEST_F(FullDisk, ACheckpointThatDoesNotFitLeavesTheOneBefore) {
  NEEDS_SMALL(64 * 1024);
  const Outcome made = run(folder, {"data",         "countdown", "--output",         folder + "/larger",
                                    "--max-number", "8",         "--max-value",      "20",
                                    "--eval",       "16",        "--demonstrations", "20",
                                    "--layers",     "2",         "--hidden",         "192",
                                    "--heads",      "4",         "--intermediate",   "512"});
  ASSERT_EQ(made.code, 0) << made.error;
  const std::vector<std::string> command =
      train({"model.path=" + folder + "/larger/model", "run.total_steps=12", "run.save_steps=4"});
  {
    Process p(folder, command);
    ASSERT_TRUE(p.until([&] { return checkpointed() >= 4; }, 60)) << p.output();
    fill(4 * 1024);
    const Outcome out = p.wait(120);
    EXPECT_EQ(out.code, 1) << out.error;
    EXPECT_THAT(out.error, AnyOf(HasSubstr("disk is full"), HasSubstr("No space left"))) << out.error;
  }
  make_space();
  EXPECT_GE(checkpointed(), 4);
  const Outcome rest = run(folder, command, 120);
  ASSERT_EQ(rest.code, 0) << rest.output << rest.error;
  expect_whole(12);
}

// Its own line of why did not fit into its log, or not whole, and it would fail the same way again.
TEST_F(FullDisk, AChildThatEndsOnAFullDiskIsNotStartedAgain) {
  NEEDS_SMALL(1024);
  const std::string fill_up = "head -c 2000000 /dev/zero 2>/dev/null >" + filler() + "; ",
                    why = "echo cohort-learner: cannot write metrics: No space left on device; exit 1";
  for (const std::string& before : {std::string(), std::string("head -c 4050 /dev/zero; echo; ")}) {
    Supervisor s({.log_dir = dir(), .guard = COHORT_BIN_DIR "/cohort", .environment = {}});
    s.start({"learner", {"/bin/sh", "-c", before + fill_up + why}});
    std::vector<ChildEnd> ends;
    for (int i = 0; i < 100 && ends.empty(); ++i) ends = s.wait(std::chrono::milliseconds(100));
    ASSERT_EQ(ends.size(), 1u);
    EXPECT_TRUE(ends[0].hopeless);
    EXPECT_THAT(ends[0].error, HasSubstr(dir() + ": the disk is full")) << before;
    make_space();
    std::filesystem::remove(dir() + "/learner.log");
  }
}

TEST_F(FullDisk, SupervisedTrainingStopsWithOneLineAndGoesOn) {
  NEEDS_SMALL(3 * 1024);
  const auto command = [&](const std::string& to) {
    std::vector<std::string> out = {"sft", COHORT_SOURCE_DIR "/launch/recipes/countdown_sft.toml", "--quiet"};
    for (const std::string& set :
         {"run.dir=" + to, "sft.model=" + folder + "/data/model", "sft.train=" + folder + "/data/sft.jsonl",
          "sft.output=" + to + "-out", std::string("sft.batch_size=8"), std::string("sft.max_steps=60"),
          std::string("sft.save_steps=20")})
      out.insert(out.end(), {"--set", set});
    return out;
  };
  fill(16);
  const Outcome full = run(folder, command(dir() + "/sft"));
  EXPECT_EQ(full.code, 1) << full.error;
  EXPECT_THAT(full.error, AnyOf(HasSubstr("disk is full"), HasSubstr("No space left"))) << full.error;
  EXPECT_EQ(lines(full.error), 1) << full.error;
  make_space();
  const Outcome rest = run(folder, command(dir() + "/sft"));
  ASSERT_EQ(rest.code, 0) << rest.error;
  const Outcome straight = run(folder, command(folder + "/straight"));
  ASSERT_EQ(straight.code, 0) << straight.error;
  EXPECT_TRUE(read_text(dir() + "/sft-out/model.safetensors") ==
              read_text(folder + "/straight-out/model.safetensors"));
}

}  // namespace
}  // namespace cohort
