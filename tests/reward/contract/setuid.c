#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
int main(int argc, char** argv) {
  if (argc > 1) return geteuid() == 0 || geteuid() != getuid();
  int bad = 0;
  bad += setuid(0) == 0 || setresuid(0, 0, 0) == 0 || setgid(0) == 0 || seteuid(0) == 0 || getuid() == 0;
  chmod("program", 04777);
  chown("program", 0, 0);
  if (!fork()) execl("./program", "program", "again", (char*)0), _exit(0);
  int status = 0;
  wait(&status);
  bad += status != 0;
  // setuid programs of the machine run, but as nobody else
  const char* theirs[][3] = {{"/usr/bin/su", "-c", "true"}, {"/usr/bin/passwd", "-d", "root"}};
  for (int i = 0; i < 2; i++) {
    if (access(theirs[i][0], X_OK)) continue;
    if (!fork()) {
      int null = open("/dev/null", O_RDWR);
      dup2(null, 1), dup2(null, 2);
      execl(theirs[i][0], theirs[i][0], theirs[i][1], theirs[i][2], (char*)0);
      _exit(1);
    }
    wait(&status);
    bad += WIFEXITED(status) && WEXITSTATUS(status) == 0;
  }
  puts(bad ? "escaped" : "ok");
}
