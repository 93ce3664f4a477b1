// A memory file is refused; what C libraries fall back to is a file in /dev/shm, which counts.
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>
static char b[1 << 20];
int main() {
  int f = memfd_create("m", 0);
  if (f < 0) f = shm_open("/m", O_CREAT | O_RDWR, 0600);
  if (f < 0) return 1;
  shm_unlink("/m");
  for (int i = 0; i < 400; i++)
    if (write(f, b, sizeof b) != sizeof b) return 1;
  sleep(1000);
}
