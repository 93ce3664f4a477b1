#include <signal.h>
#include <stdio.h>
int main() {
  raise(SIGSTOP);
  puts("ok");
}
