#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>
static char b[1 << 20];
int main() {
  for (int i = 0; i < 400; i++) {
    char name[32];
    sprintf(name, "/tmp/f%d", i);
    int f = open(name, O_CREAT | O_WRONLY, 0600);
    if (f < 0 || write(f, b, sizeof b) != sizeof b) return 1;
    close(f);
  }
  sleep(1000);
}
