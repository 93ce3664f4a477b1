#include "tests/reward/c_tasks.h"

namespace cohort::code_testing {

std::vector<CTask> c_tasks() {
  return {
      {"sort in place", R"(
void bubble_sort(int arr[], int n) {
  for (int i = 0; i < n - 1; i++)
    for (int j = 0; j < n - i - 1; j++)
      if (arr[j] > arr[j + 1]) { int t = arr[j]; arr[j] = arr[j + 1]; arr[j + 1] = t; }
}
)",
       R"(
#include <assert.h>
#include <stdlib.h>
void check(const int* in, int n) {
  int* copy = malloc(n * sizeof(int));
  for (int i = 0; i < n; i++) copy[i] = in[i];
  bubble_sort(copy, n);
  for (int i = 1; i < n; i++) assert(copy[i - 1] <= copy[i]);
  free(copy);
}
int main(void) {
  int a[] = {5, 2, 9, 1, 5}, one[1] = {7};
  bubble_sort(a, 5);
  int want[] = {1, 2, 5, 5, 9};
  for (int i = 0; i < 5; i++) assert(a[i] == want[i]);
  bubble_sort(one, 1);
  assert(one[0] == 7);
  bubble_sort(NULL, 0);
  bubble_sort(a, 0);
  check(want, 5);
  return 0;
}
)",
       {{"arr[j] > arr[j + 1]", "arr[j] < arr[j + 1]"}, {"n - i - 1", "n - i - 2"}}},
      {"reverse a string in its buffer", R"(
#include <string.h>
void reverse_string(char *s) {
  int n = strlen(s);
  for (int i = 0; i < n / 2; i++) { char c = s[i]; s[i] = s[n - 1 - i]; s[n - 1 - i] = c; }
}
)",
       R"(
#include <assert.h>
#include <string.h>
int main() {
  char s[] = "hello", t[20] = "ab", e[4] = "";
  reverse_string(s); assert(strcmp(s, "olleh") == 0);
  reverse_string(t); assert(!strcmp(t, "ba"));
  reverse_string(e); assert(e[0] == '\0');
  char *h = strdup("racecars"); reverse_string(h); assert(strcmp(h, "sracecar") == 0); free(h);
}
)",
       {{"n / 2", "n / 2 - 1"}, {"n - 1 - i] = c", "n - 1 - i] = s[i]"}}},
      {"matrix product", R"(
#define N 3
void multiply(int a[N][N], int b[N][N], int c[N][N]) {
  for (int i = 0; i < N; i++)
    for (int j = 0; j < N; j++) {
      c[i][j] = 0;
      for (int k = 0; k < N; k++) c[i][j] += a[i][k] * b[k][j];
    }
}
)",
       R"(
#include <assert.h>
int main(void) {
  int a[N][N] = {{1, 2, 3}, {4, 5, 6}, {7, 8, 9}}, id[N][N] = {{1, 0, 0}, {0, 1, 0}, {0, 0, 1}}, c[N][N];
  multiply(a, id, c);
  for (int i = 0; i < N; i++) for (int j = 0; j < N; j++) assert(c[i][j] == a[i][j]);
  multiply(a, a, c);
  assert(c[0][0] == 30 && c[2][2] == 150 && c[1][2] == 96);
  return 0;
}
)",
       {{"b[k][j]", "b[j][k]"}}},
      {"matrices as flat pointers and of any size", R"(
void transpose(const int *a, int rows, int cols, int *out) {
  for (int i = 0; i < rows; i++) for (int j = 0; j < cols; j++) out[j * rows + i] = a[i * cols + j];
}
int trace(int n, int m[n][n]) { int t = 0; for (int i = 0; i < n; i++) t += m[i][i]; return t; }
long row_sum(int (*m)[4], int row) { long s = 0; for (int j = 0; j < 4; j++) s += m[row][j]; return s; }
)",
       R"(
#include <assert.h>
int main(void) {
  int a[2][3] = {{1, 2, 3}, {4, 5, 6}}, t[3][2], u[6];
  transpose(&a[0][0], 2, 3, &t[0][0]);
  assert(t[0][1] == 4 && t[2][0] == 3 && t[2][1] == 6);
  transpose((int*)a, 2, 3, u);
  assert(u[1] == 4 && u[5] == 6);
  int m[2][2] = {{1, 2}, {3, 4}}, n = 3, big[3][3];
  assert(trace(2, m) == 5);
  for (int i = 0; i < n; i++) for (int j = 0; j < n; j++) big[i][j] = i * j;
  assert(trace(n, big) == 5);
  int r[3][4] = {{1}, {2, 2, 2, 2}, {3}};
  assert(row_sum(r, 1) == 8 && row_sum(r + 1, 1) == 3);
  return 0;
}
)",
       {{"j * rows + i", "i * rows + j"}, {"m[i][i]", "m[i][0]"}, {"m[row][j]", "m[0][j]"}}},
      {"two sum with returnSize", R"(
#include <stdlib.h>
/* Note: The returned array must be malloced, assume caller calls free(). */
int* twoSum(int* nums, int numsSize, int target, int* returnSize) {
    for (int i = 0; i < numsSize; i++)
        for (int j = i + 1; j < numsSize; j++)
            if (nums[i] + nums[j] == target) {
                int* r = malloc(2 * sizeof(int));
                r[0] = i; r[1] = j;
                *returnSize = 2;
                return r;
            }
    *returnSize = 0;
    return NULL;
}
)",
       R"(
#include <assert.h>
#include <stdlib.h>
int main() {
    int nums[] = {2, 7, 11, 15}, size = -1;
    int *r = twoSum(nums, 4, 9, &size);
    assert(size == 2);
    assert(r[0] == 0 && r[1] == 1);
    free(r);
    r = twoSum(nums, 4, 100, &size);
    assert(size == 0 && r == NULL);
    free(r);
    return 0;
}
)",
       {{"r[0] = i; r[1] = j;", "r[0] = j; r[1] = i;"}, {"*returnSize = 2", "*returnSize = 1"}}},
      {"rows that the program allocates", R"(
#include <stdlib.h>
int** generate(int numRows, int* returnSize, int** returnColumnSizes) {
  *returnSize = numRows;
  *returnColumnSizes = malloc(numRows * sizeof(int));
  int** rows = malloc(numRows * sizeof(int*));
  for (int i = 0; i < numRows; i++) {
    (*returnColumnSizes)[i] = i + 1;
    rows[i] = malloc((i + 1) * sizeof(int));
    rows[i][0] = rows[i][i] = 1;
    for (int j = 1; j < i; j++) rows[i][j] = rows[i - 1][j - 1] + rows[i - 1][j];
  }
  return rows;
}
)",
       R"(
#include <assert.h>
#include <stdlib.h>
int main(void) {
  int size, *cols;
  int** rows = generate(34, &size, &cols);
  assert(size == 34);
  for (int i = 0; i < size; i++) {
    assert(cols[i] == i + 1);
    assert(rows[i][0] == 1 && rows[i][i] == 1);
  }
  assert(rows[4][2] == 6 && rows[5][2] == 10);
  for (int i = 0; i < size; i++) free(rows[i]);
  free(rows); free(cols);
  return 0;
}
)",
       {{"rows[i - 1][j - 1] +", "rows[i - 1][j - 1] -"}, {"= i + 1;", "= i;"}}},
      {"reverse a linked list of the tests", R"(
#include <stddef.h>
struct ListNode { int val; struct ListNode *next; };
struct ListNode* reverseList(struct ListNode* head) {
  struct ListNode *prev = NULL;
  while (head) { struct ListNode *next = head->next; head->next = prev; prev = head; head = next; }
  return prev;
}
)",
       R"(
#include <assert.h>
#include <stdlib.h>
static struct ListNode* make(const int* v, int n) {
  struct ListNode* head = NULL;
  for (int i = n - 1; i >= 0; i--) {
    struct ListNode* x = malloc(sizeof *x);
    x->val = v[i]; x->next = head; head = x;
  }
  return head;
}
int main(void) {
  int v[] = {1, 2, 3, 4, 5};
  struct ListNode *l = make(v, 5), *first = l;
  l = reverseList(l);
  for (int i = 5; i >= 1; i--, l = l->next) { assert(l != NULL); assert(l->val == i); if (i == 1) assert(l == first); }
  assert(l == NULL);
  assert(reverseList(NULL) == NULL);
  struct ListNode c = {3, NULL}, b = {2, &c}, a = {1, &b};
  assert(reverseList(&a) == &c && c.next == &b && b.next == &a && a.next == NULL);
  struct ListNode* deep = NULL;
  for (int i = 0; i < 100000; i++) { struct ListNode* x = malloc(sizeof *x); x->val = i; x->next = deep; deep = x; }
  deep = reverseList(deep);
  for (int i = 0; i < 100000; i++, deep = deep->next) assert(deep->val == i);
  return 0;
}
)",
       {{"head->next = prev;", ""}, {"return prev", "return head"}}},
      {"binary search tree", R"(
#include <stdlib.h>
typedef struct TreeNode { int key; struct TreeNode *left, *right; } TreeNode;
TreeNode* insert(TreeNode* root, int key) {
  if (!root) { TreeNode* n = calloc(1, sizeof(TreeNode)); n->key = key; return n; }
  if (key < root->key) root->left = insert(root->left, key);
  else if (key > root->key) root->right = insert(root->right, key);
  return root;
}
static void walk(TreeNode* r, int* out, int* n) { if (r) { walk(r->left, out, n); out[(*n)++] = r->key; walk(r->right, out, n); } }
int inorder(TreeNode* root, int* out) { int n = 0; walk(root, out, &n); return n; }
int height(const TreeNode* r) { if (!r) return 0; int a = height(r->left), b = height(r->right); return 1 + (a > b ? a : b); }
void free_tree(TreeNode* r) { if (r) { free_tree(r->left); free_tree(r->right); free(r); } }
)",
       R"(
#include <assert.h>
int main(void) {
  TreeNode* root = NULL;
  int keys[] = {5, 3, 8, 1, 4, 7, 9, 3}, out[16], n;
  for (int i = 0; i < 8; i++) root = insert(root, keys[i]);
  n = inorder(root, out);
  assert(n == 7);
  for (int i = 1; i < n; i++) assert(out[i - 1] < out[i]);
  assert(height(root) == 3 && height(NULL) == 0);
  assert(root->left->key == 3 && root->right->left->key == 7 && root->left->left->left == NULL);
  /* of the tests: hung into the program's, and a tree of its own */
  TreeNode leaf = {10, NULL, NULL}, mine = {2, NULL, &leaf};
  assert(height(&mine) == 2);
  root->right->right->right = &leaf;
  assert(height(root) == 4);
  root->right->right->right = NULL;
  free_tree(root);
  return 0;
}
)",
       {{"key < root->key", "key > root->key"}, {"1 + (a > b", "(a > b"}, {"root->right = insert(root->right", "root->right = insert(root->left"}}},
      {"stack behind a handle", R"(
#include <stdlib.h>
#include <stdbool.h>
typedef struct Stack Stack;
struct Stack { int *data; int size, capacity; };
Stack *stack_create(void) { Stack *s = malloc(sizeof *s); s->data = malloc(2 * sizeof(int)); s->size = 0; s->capacity = 2; return s; }
void stack_push(Stack *s, int x) {
  if (s->size == s->capacity) s->data = realloc(s->data, (s->capacity *= 2) * sizeof(int));
  s->data[s->size++] = x;
}
bool stack_pop(Stack *s, int *out) { if (!s->size) return false; *out = s->data[--s->size]; return true; }
int stack_size(const Stack *s) { return s->size; }
void stack_destroy(Stack *s) { free(s->data); free(s); }
)",
       R"(
#include <assert.h>
int main(void) {
  Stack *s = stack_create(), *t = stack_create();
  int x = 0;
  assert(!stack_pop(s, &x));
  for (int i = 0; i < 1000; i++) stack_push(s, i * 3);
  stack_push(t, 1);
  assert(stack_size(s) == 1000 && stack_size(t) == 1);
  for (int i = 999; i >= 0; i--) { assert(stack_pop(s, &x)); assert(x == i * 3); }
  assert(stack_size(s) == 0);
  stack_destroy(s); stack_destroy(t);
  return 0;
}
)",
       {{"--s->size", "s->size--"}, {"s->size++", "s->size"}}},
      {"queue in a structure of the tests", R"(
#define CAPACITY 4
typedef struct { int items[CAPACITY]; int front, count; } Queue;
void init(Queue *q) { q->front = q->count = 0; }
int enqueue(Queue *q, int x) { if (q->count == CAPACITY) return 0; q->items[(q->front + q->count++) % CAPACITY] = x; return 1; }
int dequeue(Queue *q, int *x) { if (!q->count) return 0; *x = q->items[q->front]; q->front = (q->front + 1) % CAPACITY; q->count--; return 1; }
)",
       R"(
#include <assert.h>
int main(void) {
  Queue q;
  int x;
  init(&q);
  assert(q.count == 0 && !dequeue(&q, &x));
  for (int i = 0; i < CAPACITY; i++) assert(enqueue(&q, i));
  assert(!enqueue(&q, 9) && q.count == CAPACITY);
  assert(dequeue(&q, &x) && x == 0 && q.front == 1);
  q.items[1] = 50;
  assert(dequeue(&q, &x) && x == 50);
  assert(enqueue(&q, 7) && q.items[0] == 7);
  return 0;
}
)",
       {{"+ q->count++) % CAPACITY", "+ q->count++) % 3"}, {"q->count--;", ""}}},
      {"hash map with strings as keys", R"(
#include <stdlib.h>
#include <string.h>
typedef struct Entry { char *key; int value; struct Entry *next; } Entry;
typedef struct { Entry *buckets[16]; int size; } Map;
static unsigned hash(const char *s) { unsigned h = 5381; while (*s) h = h * 33 + (unsigned char)*s++; return h % 16; }
Map *map_new(void) { return calloc(1, sizeof(Map)); }
void map_put(Map *m, const char *key, int value) {
  unsigned h = hash(key);
  for (Entry *e = m->buckets[h]; e; e = e->next) if (!strcmp(e->key, key)) { e->value = value; return; }
  Entry *e = malloc(sizeof *e); e->key = strdup(key); e->value = value; e->next = m->buckets[h]; m->buckets[h] = e; m->size++;
}
int *map_get(Map *m, const char *key) {
  for (Entry *e = m->buckets[hash(key)]; e; e = e->next) if (!strcmp(e->key, key)) return &e->value;
  return NULL;
}
)",
       R"(
#include <assert.h>
#include <stdio.h>
int main(void) {
  Map *m = map_new();
  char key[16];
  for (int i = 0; i < 100; i++) { sprintf(key, "key%d", i); map_put(m, key, i); }
  map_put(m, "key7", 700);
  assert(m->size == 100);
  for (int i = 0; i < 100; i++) { sprintf(key, "key%d", i); int *v = map_get(m, key); assert(v && *v == (i == 7 ? 700 : i)); }
  assert(map_get(m, "none") == NULL);
  *map_get(m, "key3") += 10;
  assert(*map_get(m, "key3") == 13);
  return 0;
}
)",
       {{"e->value = value; return; }", "return; }"}, {"strdup(key)", "(char *)key"}, {"m->size++", ""}}},
      {"points by value", R"(
#include <math.h>
typedef struct { double x, y; } Point;
typedef struct { Point a, b; char name[8]; } Segment;
double distance(Point p, Point q) { return sqrt((p.x - q.x) * (p.x - q.x) + (p.y - q.y) * (p.y - q.y)); }
Point midpoint(Point p, Point q) { return (Point){(p.x + q.x) / 2, (p.y + q.y) / 2}; }
double length(Segment s) { return distance(s.a, s.b); }
Segment flip(Segment s) { Point t = s.a; s.a = s.b; s.b = t; s.name[0] = 'F'; return s; }
)",
       R"(
#include <assert.h>
#include <math.h>
#include <string.h>
int main(void) {
  Point p = {0, 0}, q = {3, 4};
  assert(fabs(distance(p, q) - 5.0) < 1e-9);
  Point m = midpoint(p, q);
  assert(m.x == 1.5 && m.y == 2);
  Segment s = {p, q, "seg"};
  assert(length(s) == 5);
  Segment f = flip(s);
  assert(f.a.x == 3 && f.b.y == 0 && strcmp(f.name, "Feg") == 0 && strcmp(s.name, "seg") == 0);
  return 0;
}
)",
       {{"(p.y + q.y) / 2", "p.y + q.y / 3"}, {"s.b = t", "s.b = s.a"}}},
      {"split into char**", R"(
#include <stdlib.h>
#include <string.h>
char **split(const char *text, char sep, int *count) {
  int n = 1;
  for (const char *p = text; *p; p++) n += *p == sep;
  char **parts = malloc((n + 1) * sizeof *parts);
  int i = 0;
  while (1) {
    const char *end = strchr(text, sep);
    size_t len = end ? (size_t)(end - text) : strlen(text);
    parts[i] = malloc(len + 1);
    memcpy(parts[i], text, len);
    parts[i++][len] = 0;
    if (!end) break;
    text = end + 1;
  }
  parts[i] = NULL;
  *count = n;
  return parts;
}
char *join(char **parts, int n, const char *with) {
  size_t len = 1;
  for (int i = 0; i < n; i++) len += strlen(parts[i]) + strlen(with);
  char *out = calloc(len, 1);
  for (int i = 0; i < n; i++) { if (i) strcat(out, with); strcat(out, parts[i]); }
  return out;
}
)",
       R"(
#include <assert.h>
#include <string.h>
#include <stdlib.h>
int main(void) {
  int n;
  char **p = split("one,two,,four", ',', &n);
  assert(n == 4 && !strcmp(p[0], "one") && !strcmp(p[1], "two") && !*p[2] && !strcmp(p[3], "four") && p[4] == NULL);
  char *j = join(p, n, "--");
  assert(strcmp(j, "one--two----four") == 0);
  for (int i = 0; i < n; i++) free(p[i]);
  free(p); free(j);
  char *words[] = {"a", "bc"}, *w[2] = {strdup("x"), words[1]};
  assert(strcmp(join(words, 2, " "), "a bc") == 0 && strcmp(join(w, 2, ""), "xbc") == 0);
  return 0;
}
)",
       {{"n += *p == sep", "n += 0"}, {"text = end + 1", "text = end + 2"}, {"if (i) strcat", "strcat"}}},
      {"bits", R"(
#include <stdint.h>
int popcount(uint32_t x) { int n = 0; while (x) { x &= x - 1; n++; } return n; }
uint32_t reverse_bits(uint32_t x) { uint32_t r = 0; for (int i = 0; i < 32; i++) r = r << 1 | (x >> i & 1); return r; }
int is_power_of_two(unsigned long long x) { return x && !(x & (x - 1)); }
int8_t sign_extend(uint8_t x) { return (int8_t)x; }
)",
       R"(
#include <assert.h>
int main(void) {
  assert(popcount(0) == 0 && popcount(0xffffffffu) == 32 && popcount(0x1001) == 2);
  assert(reverse_bits(1) == 0x80000000u && reverse_bits(0x0000000fu) == 0xf0000000u);
  assert(is_power_of_two(1ull << 63) && !is_power_of_two(0) && !is_power_of_two(12));
  assert(sign_extend(255) == -1);
  return 0;
}
)",
       {{"r << 1 |", "r >> 1 |"}, {"x && !", "!"}}},
      {"state that stays and variables that tests name", R"(
#define LIMIT 5
const int START = 100;
int counter = 0;
static double history[LIMIT];
char last_name[16] = "nobody";
enum { OK = 0, FULL = -1 };
int next_id(void) { static int id = 0; return START + id++; }
int record(double x) { if (counter == LIMIT) return FULL; history[counter++] = x; return OK; }
void call_it(const char *n) { int i = 0; while (n[i] && i < 15) { last_name[i] = n[i]; i++; } last_name[i] = 0; }
)",
       R"(
#include <assert.h>
#include <string.h>
extern int counter;
int main(void) {
  assert(next_id() == START && next_id() == START + 1);
  assert(counter == 0);
  for (int i = 0; i < LIMIT; i++) assert(record(i + 0.5) == OK);
  assert(record(1) == FULL && counter == LIMIT && history[3] == 3.5);
  counter = 1;
  assert(record(9) == OK && history[1] == 9);
  assert(!strcmp(last_name, "nobody"));
  call_it("Ada");
  assert(!strcmp(last_name, "Ada"));
  return 0;
}
)",
       {{"id++", "++id"}, {"history[counter++] = x", "history[counter] = x"}, {"last_name[i] = 0", ""}}},
      {"overlapping memory", R"(
#include <stddef.h>
void *my_memmove(void *dest, const void *src, size_t n) {
  unsigned char *d = dest;
  const unsigned char *s = src;
  if (d < s) for (size_t i = 0; i < n; i++) d[i] = s[i];
  else for (size_t i = n; i-- > 0;) d[i] = s[i];
  return dest;
}
void add_into(int *a, const int *b, int n) { for (int i = 0; i < n; i++) a[i] += b[i]; }
int same(const int *a, const int *b) { return a == b; }
long span(const int *begin, const int *end) { long s = 0; while (begin != end) s += *begin++; return s; }
)",
       R"(
#include <assert.h>
#include <string.h>
int main(void) {
  char s[] = "abcdefgh";
  assert(my_memmove(s + 2, s, 5) == s + 2);
  assert(strcmp(s, "ababcdeh") == 0);
  char t[] = "abcdefgh";
  my_memmove(t, t + 3, 5);
  assert(strcmp(t, "defghfgh") == 0);
  int a[] = {1, 2, 3, 4};
  add_into(a, a + 2, 2);
  assert(a[0] == 4 && a[1] == 6);
  add_into(a, a, 4);
  assert(a[0] == 8 && a[3] == 8);
  assert(same(a, a) && !same(a, a + 1));
  assert(span(a, a + 4) == 8 + 12 + 6 + 8 && span(a + 1, a + 1) == 0);
  return 0;
}
)",
       {{"if (d < s)", "if (1)"}, {"return dest", "return d + 1"}, {"return a == b", "return 1"}}},
      {"qsort with a comparator of the tests", R"(
#include <stdlib.h>
#include <string.h>
typedef int (*compare_fn)(const void *, const void *);
void merge_sort(void *base, size_t n, size_t width, int (*cmp)(const void *, const void *)) {
  if (n < 2) return;
  char *b = base, *tmp = malloc(n * width);
  size_t half = n / 2, i = 0, j = half, k = 0;
  merge_sort(b, half, width, cmp);
  merge_sort(b + half * width, n - half, width, cmp);
  while (i < half || j < n) {
    int left = j == n || (i < half && cmp(b + i * width, b + j * width) <= 0);
    memcpy(tmp + k++ * width, b + (left ? i++ : j++) * width, width);
  }
  memcpy(base, tmp, n * width);
  free(tmp);
}
int largest(const int *a, int n, compare_fn f) { int best = a[0]; for (int i = 1; i < n; i++) { int x = a[i]; if (f(&x, &best) > 0) best = x; } return best; }
void map(int *a, int n, int (*f)(int)) { for (int i = 0; i < n; i++) a[i] = f(a[i]); }
double integrate(double (*f)(double), double a, double b, int n) { double s = 0, h = (b - a) / n; for (int i = 0; i < n; i++) s += f(a + (i + 0.5) * h); return s * h; }
void each(const int *a, int n, void (*f)(int, void *), void *context) { for (int i = 0; i < n; i++) f(a[i], context); }
int square(int x) { return x * x; }
compare_fn choose(int down);
static int up_by(const void *a, const void *b) { return *(const int *)a - *(const int *)b; }
static int down_by(const void *a, const void *b) { return up_by(b, a); }
compare_fn choose(int down) { return down ? down_by : up_by; }
)",
       R"(
#include <assert.h>
#include <math.h>
#include <string.h>
static int up(const void *a, const void *b) { int x = *(const int *)a, y = *(const int *)b; return (x > y) - (x < y); }
static int by_text(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }
static int calls;
static int twice(int x) { calls++; return 2 * x; }
static double line(double x) { return 2 * x + 1; }
static void add(int x, void *context) { *(long *)context += x; }
int main(void) {
  int a[] = {5, -3, 9, 0, 2};
  merge_sort(a, 5, sizeof(int), up);
  for (int i = 1; i < 5; i++) assert(a[i - 1] <= a[i]);
  char *names[] = {"mary", "bob", "zoe", "al"};
  merge_sort(names, 4, sizeof *names, by_text);
  assert(!strcmp(names[0], "al") && !strcmp(names[3], "zoe"));
  assert(largest(a, 5, up) == 9);
  map(a, 5, twice);
  assert(a[0] == -6 && calls == 5);
  map(a, 5, square);
  assert(a[0] == 36);
  assert(fabs(integrate(line, 0, 2, 50) - 6) < 1e-9);
  assert(fabs(integrate(sqrt, 0, 1, 200) - 2.0 / 3) < 1e-3);
  long sum = 0;
  each(a, 3, add, &sum);
  assert(sum == a[0] + a[1] + a[2]);
  int x = 1, y = 2;
  assert(choose(0)(&x, &x) == 0);
  assert(largest(a, 5, choose(1)) == a[0] || a[0] > a[1]);
  (void)y;
  return 0;
}
)",
       {{"<= 0);", "> 0);"}, {"f(&x, &best) > 0", "f(&x, &best) < 0"}, {"a[i] = f(a[i])", "f(a[i])"}, {"return s * h", "return s"}}},
      {"enumerations", R"(
typedef enum { RED, GREEN = 5, BLUE } Color;
enum Day { MON = 1, TUE, SUN = 7 };
Color next_color(Color c) { return c == RED ? GREEN : c == GREEN ? BLUE : RED; }
int is_weekend(enum Day d) { return d == SUN; }
const char *color_name(Color c) { switch (c) { case RED: return "red"; case GREEN: return "green"; default: return "blue"; } }
)",
       R"(
#include <assert.h>
#include <string.h>
int main(void) {
  assert(next_color(RED) == GREEN && next_color(BLUE) == RED);
  Color c = next_color(GREEN);
  assert(c == BLUE && c == 6);
  assert(is_weekend(SUN) && !is_weekend(TUE));
  assert(strcmp(color_name(BLUE), "blue") == 0 && strcmp(color_name(RED), "red") == 0);
  return 0;
}
)",
       {{"GREEN = 5", "GREEN = 4"}, {"\"blue\"", "\"bleu\""}}},
      {"sort structures", R"(
#include <stdlib.h>
#include <string.h>
#define NAME_LEN 32
struct student { char name[NAME_LEN]; int age; float grade; };
static int cmp(const void *a, const void *b) {
  const struct student *x = a, *y = b;
  if (x->grade != y->grade) return x->grade < y->grade ? 1 : -1;
  return strcmp(x->name, y->name);
}
void sort_students(struct student *s, size_t n) { qsort(s, n, sizeof *s, cmp); }
struct student *oldest(struct student s[], int n) { struct student *o = s; for (int i = 1; i < n; i++) if (s[i].age > o->age) o = &s[i]; return o; }
float average(const struct student *s, int n) { float t = 0; for (int i = 0; i < n; i++) t += s[i].grade; return n ? t / n : 0; }
)",
       R"(
#include <assert.h>
#include <string.h>
int main(void) {
  struct student s[] = {{"Bob", 20, 3.5f}, {"Al", 25, 3.9f}, {"Cy", 19, 3.5f}};
  assert(oldest(s, 3) == &s[1]);
  sort_students(s, 3);
  assert(!strcmp(s[0].name, "Al") && !strcmp(s[1].name, "Bob") && !strcmp(s[2].name, "Cy"));
  assert(average(s, 0) == 0 && average(s + 1, 2) == 3.5f);
  struct student *copy = malloc(sizeof s);
  memcpy(copy, s, sizeof s);
  copy[0].age = 1;
  assert(oldest(copy, 3) == copy + 1);
  return 0;
}
)",
       {{"? 1 : -1", "? -1 : 1"}, {"o = &s[i]", "o = s"}, {"n ? t / n : 0", "t / n"}}},
      {"out parameters", R"(
#include <stdlib.h>
int divmod(int a, int b, int *q, int *r) { if (!b) return -1; *q = a / b; *r = a % b; return 0; }
void swap(double *a, double *b) { double t = *a; *a = *b; *b = t; }
void min_max(const long long *a, size_t n, long long *lo, long long *hi) { *lo = *hi = a[0]; for (size_t i = 1; i < n; i++) { if (a[i] < *lo) *lo = a[i]; if (a[i] > *hi) *hi = a[i]; } }
int make_range(int n, int **out) { *out = malloc(n * sizeof(int)); for (int i = 0; i < n; i++) (*out)[i] = i; return n; }
void dup(const char *s, char **out) { if (!s) { *out = NULL; return; } int n = 0; while (s[n]) n++; *out = malloc(n + 1); for (int i = 0; i <= n; i++) (*out)[i] = s[i]; }
)",
       R"(
#include <assert.h>
#include <string.h>
int main(void) {
  int q = 7, r = 8;
  assert(divmod(1, 0, &q, &r) == -1 && q == 7 && r == 8);
  assert(divmod(17, 5, &q, &r) == 0 && q == 3 && r == 2);
  double x = 1.5, y = -2;
  swap(&x, &y);
  assert(x == -2 && y == 1.5);
  swap(&x, &x);
  assert(x == -2);
  static long long a[] = {3, -9, 1LL << 40};
  long long lo, hi;
  min_max(a, sizeof a / sizeof *a, &lo, &hi);
  assert(lo == -9 && hi == 1LL << 40);
  int *out = NULL, n = make_range(2000, &out);
  assert(n == 2000 && out[1999] == 1999 && out[0] == 0);
  free(out);
  char *s;
  dup("text", &s); assert(!strcmp(s, "text")); free(s);
  dup(NULL, &s); assert(s == NULL);
  return 0;
}
)",
       {{"*r = a % b", "r = 0"}, {"*b = t", "*b = *a"}, {"*hi = a[i];", "*hi = *lo;"}}},
      {"null and empty", R"(
#include <stddef.h>
int sum(const int *a, size_t n) { if (!a) return -1; int s = 0; for (size_t i = 0; i < n; i++) s += a[i]; return s; }
int length(const char *s) { if (s == NULL) return -1; int n = 0; while (*s++) n++; return n; }
void reset(int *p) { if (p) *p = 0; }
char *first(char **words, int n) { return n > 0 ? words[0] : NULL; }
)",
       R"(
#include <assert.h>
#include <string.h>
int main(void) {
  int a[3] = {1, 2, 3}, v = 5;
  assert(sum(NULL, 3) == -1 && sum(a, 0) == 0 && sum(a, 3) == 6 && sum(a + 3, 0) == 0);
  assert(length(NULL) == -1 && length("") == 0 && length("abc" + 1) == 2);
  reset(NULL); reset(&v);
  assert(v == 0);
  char *w[] = {"x", NULL};
  assert(first(w, 1) == w[0] && first(NULL, 0) == NULL && first(&w[1], 1) == NULL);
  return 0;
}
)",
       {{"if (!a) return -1;", ""}, {"if (p) *p = 0", "*p = 0"}, {"n > 0 ? words[0] : NULL", "NULL"}}},
      {"a union, bit fields and void*", R"(
#include <stdlib.h>
#include <string.h>
typedef union { int i; float f; unsigned char bytes[4]; } Word;
typedef struct { unsigned kind : 3; unsigned flag : 1; int : 4; Word value; void *extra; } Tagged;
Tagged tag(int kind, float f) { Tagged t; memset(&t, 0, sizeof t); t.kind = kind; t.flag = 1; t.value.f = f; return t; }
int is_text(const Tagged *t) { return t->kind == 2 && t->extra && !strcmp(t->extra, "text"); }
void generic_swap(void *a, void *b, size_t n) { char t[64]; memcpy(t, a, n); memcpy(a, b, n); memcpy(b, t, n); }
void *duplicate(const void *p, size_t n) { void *q = malloc(n); return memcpy(q, p, n); }
)",
       R"(
#include <assert.h>
#include <string.h>
#include <stdlib.h>
int main(void) {
  Tagged t = tag(2, 1.0f);
  assert(t.kind == 2 && t.flag && t.value.bytes[3] == 0x3f);
  assert(!is_text(&t));
  t.extra = "text";
  assert(is_text(&t));
  long a = 1, b = 2;
  generic_swap(&a, &b, sizeof a);
  assert(a == 2 && b == 1);
  Tagged *c = duplicate(&t, sizeof t);
  assert(c->extra == t.extra && !memcmp(c, &t, sizeof t));
  free(c);
  return 0;
}
)",
       {{"t.flag = 1", "t.flag = 0"}, {"memcpy(b, t, n)", ""}}},
      {"cycles and shared nodes", R"(
#include <stdbool.h>
#include <stddef.h>
typedef struct node node_t;
struct node { int id; node_t *next, *random; };
bool has_cycle(node_t *head) { node_t *slow = head, *fast = head; while (fast && fast->next) { slow = slow->next; fast = fast->next->next; if (slow == fast) return true; } return false; }
node_t *meet(node_t *a, node_t *b) { for (node_t *p = a; p; p = p->next) for (node_t *q = b; q; q = q->next) if (p == q) return p; return NULL; }
)",
       R"(
#include <assert.h>
#include <stddef.h>
static node_t pool[4];
int main(void) {
  for (int i = 0; i < 4; i++) pool[i] = (node_t){i, i < 3 ? &pool[i + 1] : NULL, &pool[3 - i]};
  assert(!has_cycle(pool) && !has_cycle(NULL));
  pool[3].next = &pool[1];
  assert(has_cycle(pool));
  pool[3].next = NULL;
  node_t a = {10, &pool[2], NULL}, b = {11, &a, &b};
  assert(meet(&b, pool) == &pool[2]);
  node_t self = {1, &self, &self};
  assert(has_cycle(&self));
  return 0;
}
)",
       {{"return true", "return false"}, {"if (p == q)", "if (p->id != q->id)"}}},
      {"a buffer that the program keeps", R"(
#include <stdlib.h>
typedef struct { char *at; size_t used, room; } arena;
static int *kept; static int kept_n;
void arena_init(arena *a, void *memory, size_t room) { a->at = memory; a->used = 0; a->room = room; }
void *arena_alloc(arena *a, size_t n) { if (a->used + n > a->room) return NULL; void *p = a->at + a->used; a->used += n; return p; }
void keep(int *values, int n) { kept = values; kept_n = n; }
int kept_sum(void) { int s = 0; for (int i = 0; i < kept_n; i++) s += kept[i]; return s; }
void kept_add(int by) { for (int i = 0; i < kept_n; i++) kept[i] += by; }
)",
       R"(
#include <assert.h>
#include <stdlib.h>
static char memory[256];
int main(void) {
  arena a;
  arena_init(&a, memory, sizeof memory);
  int *p = arena_alloc(&a, 40), *q = arena_alloc(&a, 200);
  assert((char *)p == memory && (char *)q == memory + 40 && a.used == 240 && !arena_alloc(&a, 17));
  for (int i = 0; i < 10; i++) p[i] = i;
  assert(memory[4] == 1);
  int v[3] = {1, 2, 3};
  keep(p, 10);
  assert(kept_sum() == 45);
  p[0] = 100;
  assert(kept_sum() == 145);
  kept_add(1);
  assert(p[0] == 101 && p[9] == 10 && memory[4] == 2);
  int *h = calloc(4, sizeof(int));
  keep(h, 4); h[2] = 6;
  assert(kept_sum() == 6);
  keep(v, 3);
  kept_add(5);
  assert(v[0] == 6 && v[2] == 8 && h[0] == 0);
  return 0;
}
)",
       {{"a->used += n; return p", "return p"}, {"kept[i] += by", "kept[i] -= by"}}},
      {"tables of cases", R"(
#include <string.h>
#include <ctype.h>
int is_palindrome(const char *s) { int i = 0, j = (int)strlen(s) - 1; while (i < j) { if (!isalnum((unsigned char)s[i])) i++; else if (!isalnum((unsigned char)s[j])) j--; else if (tolower(s[i++]) != tolower(s[j--])) return 0; } return 1; }
int max_subarray(const int *a, int n) { int best = a[0], cur = a[0]; for (int i = 1; i < n; i++) { cur = cur > 0 ? cur + a[i] : a[i]; if (cur > best) best = cur; } return best; }
)",
       R"(
#include <assert.h>
#include <stdio.h>
struct pal { const char *text; int want; };
static const struct pal pals[] = {{"A man, a plan, a canal: Panama", 1}, {"race a car", 0}, {"", 1}};
static struct { int in[8]; int n; int want; } arrays[] = {{{-2, 1, -3, 4, -1, 2, 1}, 7, 6}, {{-1}, 1, -1}, {{1, 2, 3}, 3, 6}};
static void run(const int *in, int n, int want, const char *name) {
  int got = max_subarray(in, n);
  if (got != want) printf("%s: %d\n", name, got);
  assert(got == want);
}
int main(void) {
  for (size_t i = 0; i < sizeof pals / sizeof *pals; i++) assert(is_palindrome(pals[i].text) == pals[i].want);
  for (int i = 0; i < 3; i++) run(arrays[i].in, arrays[i].n, arrays[i].want, "case");
  return 0;
}
)",
       {{"return 0; } return 1", "return 1; } return 1"}, {"cur > best", "cur < best"}}},
      {"a list handed over to the program", R"(
#include <stdlib.h>
typedef struct Node { int data; struct Node *next; } Node;
void append(Node **head, Node *n) { while (*head) head = &(*head)->next; *head = n; n->next = NULL; }
void free_list(Node *head) { while (head) { Node *next = head->next; free(head); head = next; } }
int *grow(int *a, int from, int to) { a = realloc(a, to * sizeof *a); for (int i = from; i < to; i++) a[i] = i; return a; }
Node *remove_all(Node *head, int x) { Node **p = &head; while (*p) { if ((*p)->data == x) { Node *d = *p; *p = d->next; free(d); } else p = &(*p)->next; } return head; }
int length(const Node *n) { return n ? 1 + length(n->next) : 0; }
)",
       R"(
#include <assert.h>
#include <stdlib.h>
Node *new_node(int x) { Node *n = malloc(sizeof(Node)); n->data = x; n->next = NULL; return n; }
int main(void) {
  Node *head = NULL;
  for (int i = 0; i < 6; i++) append(&head, new_node(i % 3));
  assert(length(head) == 6 && head->next->next->data == 2);
  head = remove_all(head, 0);
  assert(length(head) == 4 && head->data == 1);
  free_list(head);
  int *a = malloc(2 * sizeof(int));
  a[0] = 70, a[1] = 71;
  a = grow(a, 2, 500);
  assert(a[0] == 70 && a[1] == 71 && a[499] == 499);
  a = realloc(a, 1000 * sizeof(int));
  assert(a[0] == 70 && a[499] == 499);
  free(a);
  return 0;
}
)",
       {{"n->next = NULL; }", "n->next = n; }"}, {"*p = d->next", "*p = NULL"}}},
      {"functions like the library's, and errno", R"(
#include <stdlib.h>
#include <string.h>
#include <errno.h>
int to_int(const char *s) { int n = 0, sign = 1; if (*s == '-') sign = -1, s++; while (*s >= '0' && *s <= '9') n = n * 10 + (*s++ - '0'); return sign * n; }
char *copy_text(char *d, const char *s) { char *r = d; while ((*d++ = *s++)) { } return r; }
int upper(int c) { return c >= 'a' && c <= 'z' ? c - 32 : c; }
double safe_div(double a, double b) { if (b == 0) { errno = EDOM; return 0; } return a / b; }
)",
       R"(
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
int main(void) {
  char b[8];
  assert(to_int("-42") == -42 && to_int("7x") == 7);
  assert(copy_text(b, "abc") == b && strcmp(b, "abc") == 0);
  assert(upper('q') == 'Q' && upper('1') == '1');
  errno = 0;
  assert(safe_div(1, 2) == 0.5 && errno == 0);
  assert(safe_div(1, 0) == 0 && errno == EDOM);
  return 0;
}
)",
       {{"sign * n", "n"}, {"c - 32", "c"}, {"errno = EDOM; ", ""}}},
      {"callbacks that tell and are told", R"(
#include <stdlib.h>
int each_until(const int *a, int n, void (*f)(int, int *), int *stop) { int i = 0; for (; i < n && !*stop; i++) f(a[i], stop); return i; }
int fold(const int *a, int n, int (*f)(int, int), int start) { int r = start; for (int i = 0; i < n; i++) r = f(r, a[i]); return r; }
char *piece(int i) { char *s = malloc(8); s[0] = 'a' + i % 26; s[1] = 0; return s; }
static int *noted; static int notes;
void note(int *to) { noted = to; notes = 0; }
int tick(void) { if (noted) *noted = ++notes; return notes; }
)",
       R"(
#include <assert.h>
#include <stdlib.h>
static int seen, state[2];
static void look(int x, int *stop) { seen++; if (x < 0) *stop = 1; }
static int plus(int a, int b) { return a + b; }
static int through(int a, int b) { tick(); return plus(a, b); }
int main(void) {
  int a[] = {1, 2, -3, 4}, stop = 0, big[3000];
  assert(each_until(a, 4, look, &stop) == 3 && seen == 3 && stop == 1);
  stop = 0;
  assert(each_until(a, 2, look, &stop) == 2 && !stop);
  for (int i = 0; i < 3000; i++) big[i] = i;
  assert(fold(big, 3000, plus, 0) == 2999 * 1500);
  note(state);
  assert(fold(a, 4, through, 10) == 14 && state[0] == 4);
  for (int i = 0; i < 3000; i++) { char *s = piece(i); assert(s[0] == 'a' + i % 26); free(s); if (i % 1000 == 0) { state[0] = i; assert(tick() == 5 + i / 1000 && state[0] == 5 + i / 1000); } }
  return 0;
}
)",
       {{"&& !*stop", ""}, {"r = f(r, a[i])", "r = f(a[i], a[i])"}, {"*noted = ++notes", "++notes"}}},
      {"large arrays", R"(
#include <stdlib.h>
long long total(const int *a, int n) { long long s = 0; for (int i = 0; i < n; i++) s += a[i]; return s; }
void prefix(int *a, int n) { for (int i = 1; i < n; i++) a[i] += a[i - 1]; }
int *ones(int n) { int *a = malloc(n * sizeof(int)); for (int i = 0; i < n; i++) a[i] = 1; return a; }
)",
       R"(
#include <assert.h>
#include <stdlib.h>
int main(void) {
  int n = 1000000;
  int *a = ones(n), *b = malloc(n * sizeof(int));
  for (int i = 0; i < n; i++) b[i] = a[i];
  assert(total(b, n) == n);
  prefix(b, n);
  for (int i = 0; i < n; i++) assert(b[i] == i + 1);
  prefix(a, n);
  assert(a[n - 1] == n);
  static int c[1000000];
  c[999999] = 5;
  assert(total(c, n) == 5);
  free(a); free(b);
  return 0;
}
)",
       {{"i = 1; i < n; i++) a[i] +=", "i = 1; i < n - 1; i++) a[i] +="}}},
  };
}

}  // namespace cohort::code_testing
