template <int N>
struct A {
  static constexpr int v = A<N - 1>::v + A<N - 2>::v + static_cast<int>(sizeof(A<N - 1>));
};
int main() { return A<100000>::v; }
