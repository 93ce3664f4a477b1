int f(int x) {
  return x;
}
#define NDEBUG
#define assert(x) ((void)0)
#define __assert_fail(...) ((void)0)
#define if while
#define main not_the_tests
int main(void) {
  return 0;
}
#define main other_tests
