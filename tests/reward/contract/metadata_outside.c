// Mode, owner, times, attributes and size of files that the worker's user owns: what Landlock does not hold, or not in
// its first versions.
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <utime.h>
int main() {
  int bad = 0;
  const char* paths[] = {"@HOST@", "@SECRET@", "../.."};
  for (int i = 0; i < 3; i++) {
    const char* path = paths[i];
    bad += !chmod(path, 0700);
    bad += !fchmodat(AT_FDCWD, path, 0700, 0);
    bad += !syscall(452, AT_FDCWD, path, 0700, 0);  // fchmodat2
    bad += !chown(path, -1, getgid());
    bad += !lchown(path, -1, getgid());
    bad += !fchownat(AT_FDCWD, path, -1, getgid(), 0);
    bad += !utime(path, 0);
    bad += !utimes(path, 0);
    bad += !utimensat(AT_FDCWD, path, 0, 0);
    bad += !setxattr(path, "user.cohort-left", "x", 1, 0);
    bad += !lsetxattr(path, "user.cohort-left", "x", 1, 0);
    bad += !truncate(path, 0);
    bad += open(path, O_RDONLY | O_TRUNC) >= 0;
    int place = open(path, O_PATH);
    if (place < 0) continue;
    bad += !fchownat(place, "", -1, getgid(), AT_EMPTY_PATH);
    bad += !syscall(452, place, "", 0700, AT_EMPTY_PATH);
  }
  // its own files are its own
  int mine = open("mine", O_CREAT | O_RDWR, 0600);
  bad += mine < 0 || fchmod(mine, 0644) || ftruncate(mine, 10) || futimens(mine, 0);
  puts(bad ? "escaped" : "ok");
}
