/* Follows pointers in random order through a mebibyte, a cache line each. */
#include "runtime.h"

enum { NODES = 16384 };
struct node { struct node *next; u32 value; u8 rest[64 - sizeof(void *) - 4]; };
static struct node nodes[NODES];
static u32 order[NODES];

int main(int argc, char **argv) {
  u32 steps = argc > 1 ? number(argv[1]) : 1, x = 88172645, sum = 0;
  for (u32 i = 0; i < NODES; i++) order[i] = i;
  for (u32 i = NODES - 1; i > 0; i--) {
    u32 k = next_random(&x) % (i + 1), other = order[k];
    order[k] = order[i];
    order[i] = other;
  }
  for (u32 i = 0; i < NODES; i++) {
    nodes[order[i]].next = &nodes[order[(i + 1) % NODES]];
    nodes[i].value = i;
  }
  for (struct node *at = nodes; steps > 0; steps--, at = at->next) sum = sum * 31 + at->value;
  print_hex(sum);
  return 0;
}
