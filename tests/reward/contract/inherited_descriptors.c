#include <fcntl.h>
#include <stdio.h>
int main() {
  int open_ones = 0;
  for (int i = 3; i < 65536; i++) open_ones += fcntl(i, F_GETFD) >= 0;
  puts(open_ones ? "some" : "ok");
}
