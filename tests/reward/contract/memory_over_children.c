#include <stdlib.h>
#include <string.h>
#include <unistd.h>
int main() {
  for (int i = 0; i < 8; i++)
    if (!fork()) {
      memset(malloc(40 << 20), 1, 40 << 20);
      pause();
    }
  for (;;) pause();
}
