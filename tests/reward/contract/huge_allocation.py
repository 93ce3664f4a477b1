x = bytearray(1 << 45)
