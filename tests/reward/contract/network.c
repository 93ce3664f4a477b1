#include <stdio.h>
#include <sys/socket.h>
int main() {
  int bad = 0;
  for (int family = 2; family < 46; family++)
    for (int type = 1; type < 6; type++) bad += socket(family, type, 0) >= 0;
  puts(bad ? "escaped" : "ok");
}
