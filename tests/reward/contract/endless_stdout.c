#include <stdio.h>
int main() {
  for (;;) puts("ok ok ok ok ok ok ok");
}
