#include <pthread.h>
#include <unistd.h>
static void* wait_for_ever(void* p) {
  for (;;) pause();
  return p;
}
int main() {
  for (;;) {
    pthread_t t;
    if (pthread_create(&t, 0, wait_for_ever, 0)) usleep(1000);
  }
}
