import os
os.mkfifo("out")
print("ok")
