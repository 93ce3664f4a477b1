#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
int main() {
  int p[2];
  while (open("/dev/null", O_RDONLY) >= 0) {
  }
  if (socketpair(AF_UNIX, SOCK_STREAM, 0, p) == 0) puts("ok");
  return 1;
}
