#include <fcntl.h>
#include <unistd.h>
static char b[65536];
int main() {
  int f = open("x", O_CREAT | O_WRONLY, 0600);
  for (;;) write(f, b, sizeof b);
}
