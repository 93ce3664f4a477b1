#include <errno.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>
int main() {
  char params[256] = {0};
  long f = syscall(425, 8, params), e = errno;
  puts(f < 0 && e == ENOSYS && syscall(426, 0, 0, 0, 0, 0) < 0 && syscall(427, 0, 0, 0, 0) < 0 ? "ok" : "escaped");
}
