#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>
int main() {
  int bad = 0;
  bad += write(0, "x", 1) > 0 || pwrite(0, "x", 1, 0) > 0 || ftruncate(0, 0) == 0 || ftruncate(0, 100) == 0;
  int again = open("/proc/self/fd/0", O_RDWR);
  bad += again >= 0 && (pwrite(again, "x", 1, 0) > 0 || ftruncate(again, 0) == 0);
  bad += mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, 0, 0) != MAP_FAILED;
  if (again >= 0) bad += mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, again, 0) != MAP_FAILED;
  bad += fcntl(0, F_ADD_SEALS, F_SEAL_WRITE) == 0;
  char line[32] = "";
  fgets(line, sizeof line, stdin);
  puts(bad ? "escaped" : line);
}
