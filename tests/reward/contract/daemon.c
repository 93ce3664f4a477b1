#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <unistd.h>
int main() {
  if (!fork()) {
    setsid();
    if (!fork()) {
      for (int s = 1; s < 64; s++) signal(s, SIG_IGN);
      prctl(PR_SET_NAME, "cohortleft");
      for (int i = 0; i < 3; i++) close(i);
      for (;;) pause();
    }
    _exit(0);
  }
  usleep(50000);
  puts("ok");
}
