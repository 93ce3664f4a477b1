import os
bad = []
try:
    pids = [p for p in os.listdir("/proc") if p.isdigit()]
except OSError:
    pids = []
if [p for p in pids if int(p) != os.getpid()]:
    bad.append(pids)
for pid in list(range(1, 400)) + [os.getppid()]:
    if pid == os.getpid():
        continue
    for name in ("cmdline", "environ", "maps", "mem", "root/etc/passwd", "cwd/solution.py", "fd/0", "status"):
        try:
            with open(f"/proc/{pid}/{name}", "rb") as f:
                if f.read(16):
                    bad.append(f"{pid}/{name}")
        except OSError:
            pass
for name in ("/proc/sys/kernel/hostname", "/proc/cpuinfo", "/proc/kallsyms", "/proc/net/unix", "/proc/keys", "/proc/sysrq-trigger"):
    try:
        open(name).close()
        bad.append(name)
    except OSError:
        pass
print(bad or "ok")
