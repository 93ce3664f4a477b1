char x[1u << 30] = {1};
int main() { return x[12]; }
