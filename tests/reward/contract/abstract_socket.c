#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
int main() {
  int bad = 0;
  for (int type = SOCK_STREAM; type <= SOCK_DGRAM; type++) {
    int s = socket(AF_UNIX, type, 0);
    struct sockaddr_un a = {AF_UNIX, "\0cohort-contract"};
    bad += s >= 0 && connect(s, (struct sockaddr*)&a, sizeof(sa_family_t) + 16) == 0;
    struct sockaddr_un n = {AF_UNIX, "/run/systemd/private"};
    bad += s >= 0 && connect(s, (struct sockaddr*)&n, sizeof n) == 0;
  }
  puts(bad ? "escaped" : "ok");
}
