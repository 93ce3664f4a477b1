#include <signal.h>
#include <stdio.h>
#include <unistd.h>
int main() {
  puts("ok");
  fflush(stdout);
  kill(-1, SIGKILL);
  kill(1, SIGKILL);
  kill(getppid(), SIGKILL);
  kill(0, SIGCONT);
}
