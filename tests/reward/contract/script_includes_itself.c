#ifndef AGAIN
#define AGAIN
#include __FILE__
#endif

int f(int x) {
  return x;
}
