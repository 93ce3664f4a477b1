#include <string.h>
static char x[700 << 20];
int main() {
  for (size_t i = 0; i < sizeof x; i += 4096) ((volatile char*)x)[i] = 1;
  return 0;
}
