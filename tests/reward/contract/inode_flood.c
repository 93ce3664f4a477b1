#include <stdio.h>
#include <sys/stat.h>
int main() {
  for (long i = 0;; i++) {
    char name[32];
    sprintf(name, "f%ld", i);
    mkdir(name, 0700);
  }
}
