import os
try:
    os.truncate(os.open("out", os.O_CREAT | os.O_WRONLY), 1 << 40)
except OSError:
    pass
os.unlink("out")
os.symlink("/dev/zero", "out")
print("ok")
