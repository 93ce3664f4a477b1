import zlib
c = zlib.compressobj(1)
zeros = bytes(1 << 20)
bomb = b"".join(c.compress(zeros) for _ in range(400)) + c.flush()
print(len(zlib.decompress(bomb)))
