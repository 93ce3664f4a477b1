# A build script: its language's compile command runs it. It tries what a program might, and makes a program that says how it
# went.
import os
import signal
import socket

bad = []


def attempt(what, call):
    try:
        call()
        bad.append(what)
    except OSError:
        pass


for folder in ("/", "/usr/bin", "/usr/include", "/etc", "/root", "/home", "/var", "/run", "/var/tmp", "@HOST@"):
    attempt("wrote to " + folder, lambda: open(folder + "/cohort-escaped", "w"))
for path in ("@SECRET@", "/etc/shadow", "/root/.bashrc", "/proc/1/environ"):
    attempt("read " + path, lambda: open(path).read())
attempt("a network socket", lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM))
if os.fork() == 0:  # would stay behind
    attempt("", os.setsid)
    attempt("", lambda: open("/proc/self/comm", "w").write("cohortleft"))
    for fd in range(3):
        os.close(fd)
    while True:
        signal.pause()
with open("program", "w") as program:
    program.write("#!/bin/sh\necho '%s'\n" % ("; ".join(bad) or "ok"))
