#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>
static char b[1 << 20];
int main() {
  for (int i = 0;; i++) {
    char name[32];
    sprintf(name, "f%d", i);
    int f = open(name, O_CREAT | O_WRONLY, 0600);
    write(f, b, sizeof b);
    close(f);
  }
}
