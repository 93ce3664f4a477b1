#include <sys/wait.h>
#include <unistd.h>
int main() {
  for (;;) {
    if (!fork()) {
      for (volatile int i = 0; i < 20000000; i++) {
      }
      _exit(0);
    }
    wait(0);
  }
}
