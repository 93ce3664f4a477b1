#include <stdio.h>
asm(".data\n.global s\ns: .incbin \"@SECRET@\"\n.byte 0\n");
extern const char s[];
int main() { puts(s); }
