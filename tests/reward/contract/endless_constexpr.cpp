// Each evaluation stays below the compiler's own limits on steps; of them there is no end.
template <unsigned N>
consteval unsigned work() {
  unsigned n = N;
  for (int i = 0; i < 100; ++i)
    for (int j = 0; j < 20000; ++j) n = n * 3 + 1;
  return n;
}
template <unsigned N>
consteval unsigned next() {
  if constexpr (N % 800 == 0)
    return work<N>();
  else
    return work<N>() + next<N - 1>();
}
static_assert(next<799>() + next<1599>() + next<2399>() + next<3199>() != 1);
int main() {}
