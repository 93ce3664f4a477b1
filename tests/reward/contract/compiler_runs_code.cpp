// What a constant expression may run is all that this language's compiler runs of a program. Here it fills memory:
// each table is made within the compiler's own limits and stays.
struct Table {
  long at[1000000];
};
template <int N>
consteval Table make() {
  Table table{};
  for (int i = 0; i < 10; ++i)
    for (int j = 0; j < 100000; ++j) table.at[100000 * i + j] = N + 1000L * i + j;
  return table;
}
template <int N>
constexpr Table kept = make<N>();
template <int N>
consteval long sum() {
  if constexpr (N == 0)
    return 0;
  else
    return kept<N>.at[N] + sum<N - 1>();
}
int main() { return static_cast<int>(sum<500>()); }
