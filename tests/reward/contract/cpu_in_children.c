#include <unistd.h>
int main() {
  for (int i = 0; i < 4; i++)
    if (!fork())
      for (;;) {
      }
  for (;;) pause();
}
