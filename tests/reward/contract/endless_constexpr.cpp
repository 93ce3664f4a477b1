constexpr unsigned endless(unsigned n) {
  for (;;) n = n * 3 + 1;
  return n;
}
static_assert(endless(1) != 1);
int main() {}
