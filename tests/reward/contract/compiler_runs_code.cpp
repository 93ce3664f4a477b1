// What a constant expression may run is all that this language's compiler runs of a program.
struct S {
  int* p = new int[1000000];
  constexpr ~S() { delete[] p; }
};
consteval int work() {
  int sum = 0;
  for (int i = 0; i < 1000; ++i)
    for (int j = 0; j < 200000; ++j) sum += i ^ j;
  return sum;
}
int main() { return work() & 1; }
