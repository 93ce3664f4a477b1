// Checkpoints: what was written is read back; damage of any byte, another run and a full disk are noticed.
#include "learner/checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <random>

#include "transport/base/error.h"

namespace cohort {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class Checkpoint : public testing::Test {
 protected:
  void SetUp() override {
    dir = fs::temp_directory_path() / ("cohort-checkpoint-" + std::to_string(getpid()));
    fs::remove_all(dir);
    for (float& x : parameters) x = static_cast<float>(random()) / 1e9f;
    for (float& x : moments) x = static_cast<float>(random());
  }
  void TearDown() override { fs::remove_all(dir); }

  CheckpointHeader header(uint64_t step) const {
    return {identity, step, static_cast<int64_t>(2 * step), {{"note", "ü\n"}}};
  }
  std::vector<CheckpointSection> sections(std::vector<float>& a, std::vector<float>& b) const {
    return {{"parameters", std::as_writable_bytes(std::span(a))},
            {"moments", std::as_writable_bytes(std::span(b))}};
  }
  std::string write(uint64_t step, int keep = 2) {
    return write_checkpoint(dir, header(step), sections(parameters, moments), keep);
  }
  std::string error_of(const std::string& path) {
    std::vector<float> a(parameters.size()), b(moments.size());
    try {
      read_checkpoint(path, identity, sections(a, b));
    } catch (const Error& e) {
      EXPECT_EQ(std::string(e.what()).find('\n'), std::string::npos);
      return e.what();
    }
    return "";
  }

  std::mt19937 random{5};
  std::string dir;
  std::vector<float> parameters = std::vector<float>(1001), moments = std::vector<float>(333);
  std::vector<std::pair<std::string, std::string>> identity{{"run_id", "r1"}, {"model", "{\"hidden\":8}"}};
};

TEST_F(Checkpoint, ReadsBackWhatWasWritten) {
  EXPECT_FALSE(latest_checkpoint(dir));
  const std::string path = write(7);
  EXPECT_EQ(latest_checkpoint(dir), path);
  std::vector<float> a(1001), b(333);
  const CheckpointHeader got = read_checkpoint(path, identity, sections(a, b));
  EXPECT_EQ(got.next_step, 7u);
  EXPECT_EQ(got.updates, 14);
  EXPECT_EQ(got.extra.at("note"), "ü\n");
  EXPECT_EQ(a, parameters);
  EXPECT_EQ(b, moments);
}

TEST_F(Checkpoint, KeepsTheNewest) {
  for (uint64_t step : {5, 10, 15, 20}) write(step, 2);
  write(20, 2);  // the same step again replaces it
  std::vector<std::string> names;
  for (const auto& e : fs::directory_iterator(dir)) names.push_back(e.path().filename());
  EXPECT_THAT(names, testing::UnorderedElementsAre("step-00000015", "step-00000020", "latest"));
  EXPECT_EQ(error_of(dir + "/step-00000015"), "");
  EXPECT_EQ(error_of(dir + "/step-00000020"), "");
}

// Every byte of the file counts: flip each one in turn (padding between sections excepted), cut it anywhere.
TEST_F(Checkpoint, NoticesEveryFlippedByteAndEveryCut) {
  const std::string path = write(3), file = path + "/state.bin";
  std::string whole;
  {
    std::ifstream in(file, std::ios::binary);
    whole.assign(std::istreambuf_iterator<char>(in), {});
  }
  const auto store = [&](const std::string& bytes) {
    std::ofstream(file, std::ios::binary | std::ios::trunc) << bytes;
  };
  const auto put = [&](size_t at, char byte) {
    std::fstream(file, std::ios::binary | std::ios::in | std::ios::out)
        .seekp(static_cast<std::streamoff>(at))
        .put(byte);
  };
  size_t unnoticed = 0;
  for (size_t i = 0; i < whole.size(); i += i < 600 ? 1 : 7) {
    put(i, static_cast<char>(whole[i] ^ (1 << (i % 8))));
    const std::string error = error_of(path);
    put(i, whole[i]);
    if (error.empty())
      ++unnoticed;
    else
      EXPECT_THAT(error,
                  testing::AnyOf(HasSubstr("damaged"), HasSubstr("truncated")));  // its length, for example
  }
  EXPECT_LE(unnoticed, 64u / 7 + 1);  // the padding after the first section
  for (size_t cut = 0; cut < whole.size(); cut += 397) {
    store(whole.substr(0, cut));
    EXPECT_THAT(error_of(path), HasSubstr("truncated")) << cut;
  }
  store(whole);
  EXPECT_EQ(error_of(path), "");
}

TEST_F(Checkpoint, SaysWhereToGoBackTo) {
  write(5);
  const std::string path = write(6);
  fs::resize_file(path + "/state.bin", 500);
  EXPECT_THAT(error_of(path), testing::AllOf(HasSubstr("step-00000006/state.bin is truncated"),
                                             HasSubstr("go on from step-00000005")));
  fs::remove_all(path);
  EXPECT_THROW(latest_checkpoint(dir), Error);
}

TEST_F(Checkpoint, RefusesAnotherRunOrModel) {
  const std::string path = write(1);
  identity[0].second = "r2";
  EXPECT_THAT(error_of(path),
              testing::AllOf(HasSubstr("another run"), HasSubstr("its run_id is r1, this run's is r2")));
  identity[0].second = "r1";
  identity[1].second = "{\"hidden\":16}";
  EXPECT_THAT(error_of(path), HasSubstr("model"));
  identity[1].second = "{\"hidden\":8}";
  moments.resize(334);
  EXPECT_THAT(error_of(path), HasSubstr("'moments'"));
}

// No room (a limit on the size of files stands in for the disk): one clear line, and the checkpoint before is
// intact.
TEST_F(Checkpoint, FullDiskLeavesThePreviousOneIntact) {
  const std::string before = write(1);
  const pid_t child = fork();
  if (child == 0) {
    signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{3000, 3000};
    setrlimit(RLIMIT_FSIZE, &limit);
    try {
      write(2);
    } catch (const Error& e) {
      _exit(std::string(e.what()).find("cannot write") == std::string::npos ? 2 : 42);
    }
    _exit(1);
  }
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_EQ(WEXITSTATUS(status), 42);
  EXPECT_EQ(latest_checkpoint(dir), before);
  EXPECT_EQ(error_of(before), "");
  size_t entries = 0;
  for ([[maybe_unused]] const auto& e : fs::directory_iterator(dir)) ++entries;
  EXPECT_EQ(entries, 2u);  // the old one and `latest`, nothing half written
}

// Killed at any moment while writing one checkpoint after the other: what `latest` names is always whole.
TEST_F(Checkpoint, KilledAtAnyMomentLatestIsWhole) {
  for (int round = 0; round < 15; ++round) {
    const pid_t child = fork();
    if (child == 0)
      for (uint64_t step = 1;; ++step) write(step);
    usleep(3000 + 2000 * round);
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
    if (const auto path = latest_checkpoint(dir)) {
      EXPECT_EQ(error_of(*path), "");
    }
  }
  const std::string path = write(99999);
  for (const auto& e : fs::directory_iterator(dir))
    EXPECT_FALSE(e.path().filename().string().starts_with(".part"));
  EXPECT_EQ(error_of(path), "");
}

}  // namespace
}  // namespace cohort
