import os
bad = []
for folder in ("/", "/usr/bin", "/usr/lib", "/usr/include", "/etc", "/bin", "/dev", "/proc", "/sys", "/root", "/home", "/var/tmp",
               "/var", "/run", "..", "/tmp/../..", "@HOST@"):
    path = folder + "/cohort-escaped"
    for attempt in (lambda: open(path, "w"), lambda: os.mkdir(path), lambda: os.symlink("x", path), lambda: os.mkfifo(path),
                    lambda: os.link("solution.py", path), lambda: os.rename("solution.py", path)):
        try:
            attempt()
            bad.append(path)
        except OSError:
            pass
for path in ("/usr/bin/gcc", "/usr/bin/python3", "/etc/ld.so.cache", "/proc/self/oom_score_adj/..", "/dev/sda", "/dev/mem"):
    for attempt in (lambda: open(path, "r+b"), lambda: os.chmod(path, 0o777), lambda: os.unlink(path), lambda: os.utime(path),
                    lambda: os.truncate(path, 0), lambda: os.setxattr(path, "user.x", b"x")):
        try:
            attempt()
            bad.append(path)
        except OSError:
            pass
print(bad or "ok")
