#include "reward/sandbox/shown.h"

#include <algorithm>
#include <filesystem>

namespace cohort::sandbox {
namespace {

namespace fs = std::filesystem;

void show(Shown& shown, const std::string& path, bool device = false) {
  std::error_code error;
  if (!fs::exists(path, error)) return;
  for (const Shown::Mount& m : shown.mounts)
    if (path == m.source || path.starts_with(m.source + "/")) return;
  shown.mounts.push_back({path, path.substr(1), !fs::is_directory(path, error), device});
}

}  // namespace

Shown show_toolchain(const std::vector<std::string>& more) {
  Shown shown;
  for (const char* top : {"/bin", "/lib", "/lib32", "/lib64", "/libx32"}) {
    std::error_code error;
    if (fs::is_symlink(top, error))
      shown.links.push_back({std::string(top).substr(1), fs::read_symlink(top, error).string()});
    else
      show(shown, top);
  }
  for (const char* folder : {"/usr/bin", "/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/libx32",
                             "/usr/libexec", "/usr/include", "/etc/alternatives", "/etc/ld.so.cache"})
    show(shown, folder);
  // shorter paths first, so that what lies in another's folder is already there
  std::vector<std::string> sorted = more;
  std::sort(sorted.begin(), sorted.end());
  for (const std::string& folder : sorted) show(shown, folder);
  for (const char* device : {"/dev/null", "/dev/zero", "/dev/random", "/dev/urandom"})
    show(shown, device, true);
  return shown;
}

}  // namespace cohort::sandbox
