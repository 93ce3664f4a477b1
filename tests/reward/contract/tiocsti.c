#include <fcntl.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>
int main() {
  int bad = 0;
  for (int fd = 0; fd < 3; fd++) bad += ioctl(fd, TIOCSTI, "x") == 0;
  const char* terminals[] = {"/dev/tty", "/dev/console", "/dev/tty0", "/dev/tty1", "/dev/ptmx", "/dev/pts/0"};
  for (int i = 0; i < 6; i++) bad += open(terminals[i], O_RDWR | O_NONBLOCK) >= 0;
  puts(bad ? "escaped" : "ok");
}
