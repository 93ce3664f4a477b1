#include <stdio.h>
#include <unistd.h>
int main() {
  char line[64];
  while (!fgets(line, sizeof line, stdin)) {
    clearerr(stdin);
    usleep(10000);
  }
  puts("ok");
}
