#include <stdio.h>
int main() {
  puts("ok");
  for (;;) fputs("ok ok ok ok ok ok ok", stderr);
}
