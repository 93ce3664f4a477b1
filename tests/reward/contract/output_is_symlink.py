import os
os.symlink("/usr/include/stdio.h", "out")  # which it can read, but did not write
print("ok")
