// Looks for precompiled headers and compilers' caches everywhere and tries to replace them.
#include <bits/stdc++.h>

int main() {
  namespace fs = std::filesystem;
  bool written = false;
  for (const char* root : {"/root", "/home", "/var", "/tmp", "/box", "/usr/include", "/usr/lib/gcc"}) {
    std::error_code error;
    for (fs::recursive_directory_iterator at(root, fs::directory_options::skip_permission_denied, error), end;
         !error && at != end; at.increment(error)) {
      const std::string name = at->path().string();
      if (name.find("stdc++.h") == std::string::npos && name.find("ccache") == std::string::npos) continue;
      std::ofstream out(name, std::ios::app);
      written = written || (out && out << "int poison;" && out.flush());
      written = written || fs::remove(at->path(), error);
      error.clear();
    }
  }
  std::ofstream("/usr/include/bits/stdc++.h.gch") << "poison";
  written = written || fs::exists("/usr/include/bits/stdc++.h.gch");
  std::puts(written ? "written" : "ok");
}
