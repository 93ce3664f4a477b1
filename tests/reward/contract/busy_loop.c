int main() {
  for (volatile int x = 0;; x++) {
  }
}
