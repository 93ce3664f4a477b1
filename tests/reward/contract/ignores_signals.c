#include <signal.h>
int main() {
  for (int s = 1; s < 64; s++) signal(s, SIG_IGN);
  for (;;) {
  }
}
