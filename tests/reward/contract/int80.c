#include <stdio.h>
int main() {
  int pid;
  asm volatile("int $0x80" : "=a"(pid) : "a"(20));  // the 32-bit getpid
  puts("ok");
}
