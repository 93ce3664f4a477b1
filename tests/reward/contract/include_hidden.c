#include "@SECRET@"
int main() {}
