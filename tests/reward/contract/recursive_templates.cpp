// Two instantiations in each, none deep enough for the compiler's own limit on depth: 2^60 of them.
template <unsigned long Path, int Depth>
struct A {
  static constexpr unsigned v = A<2 * Path, Depth - 1>::v + A<2 * Path + 1, Depth - 1>::v;
};
template <unsigned long Path>
struct A<Path, 0> {
  static constexpr unsigned v = 1;
};
int main() { return A<1, 60>::v; }
