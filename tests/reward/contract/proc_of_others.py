import os
bad = []
pids = [p for p in os.listdir("/proc") if p.isdigit()] if os.path.isdir("/proc") and os.access("/proc", os.R_OK) else []
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
    if os.access(name, os.R_OK):
        bad.append(name)
print(bad or "ok")
