#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>
int main() {
  int f = open("x", O_CREAT | O_WRONLY, 0600);
  if (ftruncate(f, 1L << 40) == 0) puts("ok");
}
