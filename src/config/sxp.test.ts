import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseSxp, printAtom, printCompact, printPretty, type Sxp } from './sxp.ts';

// biome-ignore format: a table
const ATOMS: [value: string | number, printed: string, why: string][] = [
  ['ttylinux',        'ttylinux',             'letters are bare'],
  ['file:/a/b-c_d.e', 'file:/a/b-c_d.e',      'and so are . - _ : /'],
  ['~x',              '~x',                   'and ~'],
  ['@',               '@',                    'an @ alone is bare'],
  ['a@b',             "'a@b'",                'but not in a word'],
  ['a=b',             "'a=b'",                '= forces quotes'],
  ['a,b',             "'a,b'",                ', forces quotes'],
  ['/dev/sda1 ro',    "'/dev/sda1 ro'",       'a blank forces quotes'],
  ["it's",            '"it\'s"',              'double quotes around a single one'],
  ['say "x"',         '\'say "x"\'',          'single quotes around double ones'],
  ['n"f\'s',          "'n\"f\\'s'",           'both: the single one is escaped'],
  ['a\nb',            "'a\\nb'",              'a newline is escaped'],
  ['\x01',            "'\\x01'",              'control bytes are hexadecimal'],
  ['é',               "'\\xc3\\xa9'",         'other characters are the bytes of UTF-8'],
  ['',                "''",                   'nothing is two quotes (the original printed nothing)'],
  [9605,              '9605',                 'whole numbers are plain'],
  [1234567890123456,  '1234567890123456',     'and have all of their digits'],
  [3.04999,           '3.04999',              'others as they are'],
  [0.1 + 0.2,         '0.3',                  'with twelve significant digits'],
];

for (const [value, printed, why] of ATOMS) {
  test(`SXP atom ${JSON.stringify(value)}: ${why}`, () => {
    assert.equal(printAtom(value), printed);
    assert.deepEqual(parseSxp(printed), [String(typeof value === 'number' ? printed : value)]);
  });
}

test('a list that fits in 80 columns is one line, a longer one has an element a line', () => {
  const short: Sxp = ['device', ['vbd', ['uname', 'file:/path/to/ttylinux/rootfs'], ['dev', 'sda1'], ['mode', 'w']]];
  assert.equal(printPretty(short), '(device (vbd (uname file:/path/to/ttylinux/rootfs) (dev sda1) (mode w)))\n');
  const image: Sxp = [
    'linux',
    ['kernel', '/boot/vmlinuz-2.6-xenU'],
    ['ip', '1.2.3.4:1.2.3.4::::eth0:off'],
    ['root', '/dev/sda1 ro'],
  ];
  assert.equal(
    printPretty(['vm', ['name', 'ttylinux'], ['memory', 64], ['image', image], short]),
    `(vm
    (name ttylinux)
    (memory 64)
    (image
        (linux
            (kernel /boot/vmlinuz-2.6-xenU)
            (ip 1.2.3.4:1.2.3.4::::eth0:off)
            (root '/dev/sda1 ro')
        )
    )
    (device (vbd (uname file:/path/to/ttylinux/rootfs) (dev sda1) (mode w)))
)
`,
  );
});

test('the reader takes comments, both quotes, escapes and nested lists', () => {
  const text = `# a comment\n(vm (name "a b") (x 'it\\'s') (y "\\x41\\102\\n") (empty '') ()) next`;
  assert.deepEqual(parseSxp(text), [['vm', ['name', 'a b'], ['x', "it's"], ['y', 'AB\n'], ['empty', ''], []], 'next']);
});

test('what the reader cannot take is told with line and column', () => {
  assert.throws(() => parseSxp('(a\n (b'), /2:\d+: a list has no end/);
  assert.throws(() => parseSxp('a )'), /1:3: a "\)" too many/);
  assert.throws(() => parseSxp("('abc"), /a string has no end/);
  assert.throws(() => parseSxp('('.repeat(100_000)), /nested too deeply/);
});

test('random lists survive printing and reading, pretty or compact', () => {
  let seed = 7;
  const random = (n: number) => (seed = (seed * 1103515245 + 12345) & 0x7fffffff) % n;
  const value = (depth: number): Sxp =>
    depth > 0 && random(2)
      ? Array.from({ length: 1 + random(5) }, () => value(depth - 1))
      : ['a', "b'c", 'd"e\'', '', 'x y', 'ä\t'][random(6)]!;
  for (let i = 0; i < 300; i++) {
    const list: Sxp = ['top', value(4), value(4)];
    assert.deepEqual(parseSxp(printCompact(list)), [list], `seed 7, round ${i}`);
    assert.deepEqual(parseSxp(printPretty(list)), [list], `seed 7, round ${i}`);
  }
});
