#include <sys/socket.h>
#include <linux/vm_sockets.h>
#include <stdio.h>
int main() {
  struct sockaddr_vm a = {AF_VSOCK, 0, 1024, VMADDR_CID_HOST};
  int s = socket(AF_VSOCK, SOCK_STREAM, 0);
  puts(s >= 0 || connect(s, (struct sockaddr*)&a, sizeof a) == 0 ? "escaped" : "ok");
}
