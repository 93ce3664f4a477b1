#include <fcntl.h>
#include <mqueue.h>
#include <semaphore.h>
#include <stdio.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <unistd.h>
int main() {
  shmget(0x636f, 4096, IPC_CREAT | 0666), msgget(0x636f, IPC_CREAT | 0666), semget(0x636f, 1, IPC_CREAT | 0666);
  mq_open("/cohort-left", O_CREAT | O_RDWR, 0666, (void*)0);
  sem_open("/cohort-left", O_CREAT, 0666, 1);
  int f = shm_open("/cohort-left", O_CREAT | O_RDWR, 0666);
  if (f >= 0) ftruncate(f, 4096);
  puts("ok");
}
