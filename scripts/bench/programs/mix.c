/* A mix in the manner of CoreMark: a linked list sorted and searched, a matrix of integers, a scanner of numbers, a CRC of it all. */
#include "runtime.h"

static u32 crc16(u32 crc, u32 value) {
  for (int i = 0; i < 16; i++, value >>= 1) crc = (crc ^ value) & 1 ? crc >> 1 ^ 0xa001 : crc >> 1;
  return crc;
}

struct item { struct item *next; u32 key, data; };
enum { ITEMS = 256, SIDE = 16, TEXT = 512 };
static struct item items[ITEMS];
static int a[SIDE][SIDE], b[SIDE][SIDE], c[SIDE][SIDE];
static char text[TEXT];

/* Merge sort of a list, from short runs to long ones. */
static struct item *sort(struct item *list) {
  for (u32 run = 1;; run *= 2) {
    struct item *rest = list, **tail = &list;
    u32 merges = 0;
    while (rest) {
      struct item *left = rest, *right = rest;
      u32 n = 0, m = run;
      merges++;
      while (n < run && right) right = right->next, n++;
      while (n > 0 || (m > 0 && right)) {
        if (n > 0 && (m == 0 || !right || left->key <= right->key)) *tail = left, left = left->next, n--;
        else *tail = right, right = right->next, m--;
        tail = &(*tail)->next;
      }
      rest = right;
    }
    *tail = 0;
    if (merges <= 1) return list;
  }
}

static u32 lists(u32 seed) {
  u32 x = seed | 1, crc = 0;
  for (u32 i = 0; i < ITEMS; i++) {
    items[i].next = i + 1 < ITEMS ? &items[i + 1] : 0;
    items[i].key = next_random(&x) & 0xffff;
    items[i].data = i;
  }
  struct item *list = sort(items);
  for (u32 want = 0; want < 16; want++) {
    struct item *at = list;
    while (at && at->data != want * 15) at = at->next;
    crc = crc16(crc, at ? at->key : 0);
  }
  return crc;
}

static u32 matrices(u32 seed) {
  u32 crc = 0;
  for (int i = 0; i < SIDE; i++)
    for (int k = 0; k < SIDE; k++) a[i][k] = (int)(seed + i * k) & 255, b[i][k] = (int)(seed ^ (i + k)) & 255;
  for (int i = 0; i < SIDE; i++)
    for (int k = 0; k < SIDE; k++) {
      int sum = 0;
      for (int j = 0; j < SIDE; j++) sum += a[i][j] * b[j][k];
      c[i][k] = sum;
    }
  for (int i = 0; i < SIDE; i++) crc = crc16(crc, (u32)c[i][(seed + i) % SIDE]);
  return crc;
}

enum state { START, INTEGER, FRACTION, EXPONENT, SIGNED, INVALID, STATES };
static u32 scan(u32 seed) {
  static const char letters[] = "0123456789+-.eE, ,";
  u32 count[STATES] = {0}, x = seed | 1, crc = 0;
  for (int i = 0; i < TEXT; i++) text[i] = letters[next_random(&x) % (sizeof letters - 1)];
  enum state state = START;
  for (int i = 0; i < TEXT; i++) {
    char letter = text[i];
    int digit = letter >= '0' && letter <= '9';
    if (letter == ',') {
      count[state]++;
      state = START;
      continue;
    }
    switch (state) {
      case START: state = digit ? INTEGER : letter == '.' ? FRACTION : letter == '+' || letter == '-' ? SIGNED : INVALID; break;
      case SIGNED: state = digit ? INTEGER : letter == '.' ? FRACTION : INVALID; break;
      case INTEGER: state = digit ? INTEGER : letter == '.' ? FRACTION : letter == 'e' || letter == 'E' ? EXPONENT : INVALID; break;
      case FRACTION: state = digit ? FRACTION : letter == 'e' || letter == 'E' ? EXPONENT : INVALID; break;
      case EXPONENT: state = digit ? EXPONENT : INVALID; break;
      default: break;
    }
  }
  for (int i = 0; i < STATES; i++) crc = crc16(crc, count[i]);
  return crc;
}

int main(int argc, char **argv) {
  u32 rounds = argc > 1 ? number(argv[1]) : 1, crc = 0;
  for (u32 r = 0; r < rounds; r++) crc = crc16(crc16(crc16(crc, lists(r)), matrices(r)), scan(r));
  print_hex(crc);
  return 0;
}
