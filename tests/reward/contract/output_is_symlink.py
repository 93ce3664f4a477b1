import os
os.symlink("/etc/passwd", "out")
print("ok")
