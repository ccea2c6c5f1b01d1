import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ConfigError } from '../config-error.ts';
import type { HostFacts } from './builtins.ts';
import { runPython } from './interpreter.ts';
import { type PyValue, repr } from './values.ts';

const printed: string[] = [];
const host: HostFacts = {
  env: { HOME: '/home/me' },
  uname: ['Linux', 'calypso', '6.1.0', '#1', 'x86_64'],
  cwd: '/folder',
  exists: (file) => (file === '/etc/passwd' ? 'file' : file === '/etc' ? 'folder' : undefined),
  interfaceAddress: (device) => (device === 'eth0' ? { address: '10.0.0.7', netmask: '255.255.255.0' } : undefined),
  gateway: () => '10.0.0.1',
  print: (text) => printed.push(text),
};

const run = (text: string, names?: Map<string, PyValue>) =>
  runPython(text, { file: 'cfg', host, names, stepsMax: 20_000 });
const printedValue = (expression: string) => repr(run(`x = ${expression}\n`).globals.get('x')!);

// biome-ignore format: a table
const EXPRESSIONS: [expression: string, printed: string][] = [
  ['0x1f + 0o17 + 0b11 + 010',                '57'],
  ['1_000',                                   '1000'],
  ['1.5e3, .5, 1e-7',                         '(1500.0, 0.5, 1e-07)'],
  ['7 // 2, -7 // 2, 7 % -3, 2 ** 10',        '(3, -4, -2, 1024)'],
  ['8 / 2, 7 / 2',                            '(4, 3.5)'],
  ['1 < 2 < 3, 1 < 3 < 2, not 1 == 2',        '(True, False, True)'],
  ['1 == 1.0, "a" != "b", None is None',      '(True, True, True)'],
  ['2 in [1, 2], 3 not in (1, 2), "b" in "abc"', '(True, True, True)'],
  ['0 or "" or "x", 1 and 2',                 "('x', 2)"],
  ['"a" "b" \'c\'',                           "'abc'"],
  ['r"\\n" + "\\t\\x41\\101"',                "'\\\\n\\tAA'"],
  ['"""a\nb"""',                              "'a\\nb'"],
  ['"%d-%s-%5.2f|%-4s|%04d|%x" % (5, "a", 1.5, "b", 7, 255)', "'5-a- 1.50|b   |0007|ff'"],
  ['"%(a)s%%%(b)r" % {"a": 1, "b": "x"}',     `"1%'x'"`],
  ['"VM%d" % 3',                              "'VM3'"],
  ['"{}{} {x:>3}".format("a", 2, x=3) + "{0[1]}".format([1, 2])', "'a2   32'"],
  ['f"{1 + 1:03d}{"a"!r}{{}}{3.14159:.2f}"',  '"002\'a\'{}3.14"'],
  ['[i * 2 for i in range(5) if i % 2]',      '[2, 6]'],
  ['[a + b for a in "xy" for b in "12"]',     "['x1', 'x2', 'y1', 'y2']"],
  ['{k: len(k) for k in ["a", "bb"]}',        "{'a': 1, 'bb': 2}"],
  ['",".join(str(i) for i in range(3))',      "'0,1,2'"],
  ['[1, 2] + [3], (1,) * 3, "ab" * 2',        "([1, 2, 3], (1, 1, 1), 'abab')"],
  ['[1, 2, 3, 4][1:3], "abcdef"[::-2], [1, 2][-1]', "([2, 3], 'fdb', 2)"],
  ['{"a": {"b": [1]}}["a"]["b"][0]',          '1'],
  ['(lambda a, b=2, *c, **d: [a, b, c, d])(1, 5, 6, z=7)', "[1, 5, (6,), {'z': 7}]"],
  ['int("0x1F", 16), int(" 42 "), int(3.9), float("1.5"), str(1.0)', "(31, 42, 3, 1.5, '1.0')"],
  ['max(3, 1, 2), min([3, 1]), sum([1, 2]), sorted([3, 1, 2]), abs(-4)', '(3, 1, 3, [1, 2, 3], 4)'],
  ['list(zip([1, 2], "ab")), list(enumerate("a"))', "([(1, 'a'), (2, 'b')], [(0, 'a')])"],
  ['hex(255), oct(8), chr(65), ord("A"), round(2.5), bool([])', "('0xff', '0o10', 'A', 65, 2, False)"],
  ['" a b ".strip().upper().split(), "a-b".replace("-", "+")', "(['A', 'B'], 'a+b')"],
  ['"7".zfill(3), "a:b:c".rsplit(":", 1), "x".rjust(3, ".")', "('007', ['a:b', 'c'], '..x')"],
  ['os.uname()[4], os.environ["HOME"], os.getenv("NO", "d")', "('x86_64', '/home/me', 'd')"],
  ['os.path.join("/a", "b", "/c", "d"), os.path.exists("/etc/passwd"), os.path.basename("/a/b")', "('/c/d', True, 'b')"],
  ['re.search("(6)4", os.uname()[4]).group(1), re.match("b", "ab"), re.sub("a+", "x", "caat")', "('6', None, 'cxt')"],
  ['re.compile("(?P<n>[0-9]+)").search("a12").group("n")', "'12'"],
  ['get_current_ipaddr(), get_current_ipmask("eth0"), get_current_ipgw()', "('10.0.0.7', '255.255.255.0', '10.0.0.1')"],
  ['add_offset_to_ip("10.0.0.250", 10), inet_ntoa(inet_aton("1.2.3.4"))', "('10.0.1.4', '1.2.3.4')"],
  ['check_subnet("10.0.0.9", "10.0.0.0", "255.255.255.0")', 'True'],
];

for (const [expression, shown] of EXPRESSIONS) {
  test(`${expression} is ${shown}`, () => {
    assert.equal(printedValue(expression), shown);
  });
}

// biome-ignore format: a table
const PROGRAMS: [name: string, text: string, x: string][] = [
  ['if, elif and else take the first that holds', 'v = 2\nif v == 1:\n  x = "a"\nelif v == 2:\n  x = "b"\nelse:\n  x = "c"\n', "'b'"],
  ['for with break, continue and else', 'x = []\nfor i in range(9):\n  if i == 1: continue\n  if i == 4: break\n  x.append(i)\nelse:\n  x = "no"\n', '[0, 2, 3]'],
  ['while counts down', 'x = 3\nwhile x > 0:\n\tx -= 1\n', '0'],
  ['a function sees the names of the file', 'base = 10\ndef f(n):\n    "doc"\n    return base + n\nx = f(5)\n', '15'],
  ['a function calls itself', 'def f(n):\n  return 1 if n < 2 else n * f(n - 1)\nx = f(6)\n', '720'],
  ['global reaches out of a function', 'x = 1\ndef f():\n  global x\n  x = 2\nf()\n', '2'],
  ['names are unpacked', 'a, (b, c) = 1, (2, 3)\nx = [c, b, a]\n', '[3, 2, 1]'],
  ['items are assigned and deleted', 'd = {}\nd["a"] = 1\nd["b"] = 2\ndel d["a"]\nl = [1, 2]\nl[0] += 5\nx = (d, l)\n', "({'b': 2}, [6, 2])"],
  ['+= extends a list that has two names', 'a = [1]\nx = a\na += [2]\n', '[1, 2]'],
  ['try catches what int() raises', 'try:\n  x = int("q")\nexcept (TypeError, ValueError) as e:\n  x = "bad"\nfinally:\n  y = 1\n', "'bad'"],
  ['import in every form', 'import os, re\nimport os.path as p\nfrom os import getenv as g\nx = (p.basename("/a/b"), g("HOME"))\n', "('b', '/home/me')"],
  ['a hardware address out of a name', 'import hashlib, md5\nh = hashlib.md5("web").hexdigest()\nx = ("aa:00:00:%s:%s" % (h[0:2], h[2:4]), md5.new("web").hexdigest() == h)\n', "('aa:00:00:25:67', True)"],
  ['chance stays in its range', 'import random, platform\nx = (random.randint(3, 3), random.choice([7]), random.randrange(1), platform.machine())\n', "(3, 7, 0, 'x86_64')"],
  ['two statements on a line, a comment, CRLF, no newline at the end', 'a = 1; b = 2 # c\r\nx = a + b', '3'],
  ['a list over many lines with comments and a last comma', 'x = [ "a", # one\n  "b",\n  # nothing\n]\n', "['a', 'b']"],
  ['an indented first line, as xl takes it', '  x = 1\n', '1'],
  ['Python 2 printed without parentheses and had long numbers', 'print "a", 1,\nx = 64L\nprint x, "b"\nx += 0x10L\n', '80'],
  ['a backslash joins lines', 'x = 1 + \\\n 2\n', '3'],
];

for (const [name, text, x] of PROGRAMS) test(name, () => assert.equal(repr(run(text).globals.get('x')!), x));

// biome-ignore format: a table
const ERRORS: [text: string, message: RegExp][] = [
  ['print "a", 1\nx = nope\n',          /^cfg:2:5: NameError/],
  ['print "a", 1\nx = 1L + nope\n',     /^cfg:2:10: NameError/],
  ['print "a", 1 = \n',                 /^cfg:1:14: syntax error/],
  ['print "a", 1\nx = = 3\n',           /^cfg:2:5: syntax error/],
  ['x = 5M\n',                          /^cfg:1:6: syntax error at "M"/],
  ['x = = 3\n',                         /^cfg:1:5: syntax error at "= 3"$/],
  ['a = 1\nx = "abc\nb = 2\n',          /^cfg:2:5: the string has no end$/],
  ['a = 1\n\nx = nope + 1\n',           /^cfg:3:5: NameError: name 'nope' is not defined$/],
  ['x = "a" + 1\n',                     /^cfg:1:9: TypeError: .*'str' and 'int': write str/],
  ['x = 1 / 0\n',                       /ZeroDivisionError/],
  ['x = [1][3]\n',                      /IndexError/],
  ['x = {}["k"]\n',                     /KeyError: 'k'/],
  ['raise ValueError("no good")\n',     /^cfg:1:1: ValueError: no good$/],
  ['assert 1 == 2, "odd"\n',            /AssertionError: odd/],
  ['import subprocess\n',               /^cfg:1:8: ImportError: module subprocess is not available/],
  ['os.system("ls")\n',                 /os\.system is not available in configuration files/],
  ['open("/etc/passwd")\n',             /open\(\) is not available/],
  ['x = eval("1")\n',                   /eval\(\) is not available/],
  ['x = "".__class__\n',                /__class__ is not available/],
  ['class A:\n  pass\n',                /"class" is not available/],
  ['while True:\n  pass\n',             /^cfg:\d:\d+: the file takes too many steps/],
  ['try:\n  while True: pass\nexcept:\n  pass\n', /too many steps/],
  ['x = "a" * 999999999\n',             /too long/],
  ['x = 9 ** 999999\n',                 /too long/],
  ['x = range(10 ** 9)\n',              /too (long|many)/],
  ['def f(): return f()\nf()\n',        /too deeply/],
  ['x = [1]\nwhile True: x += x\n',   /^cfg:2:\d+: (the list is too long|the file takes too many steps)/],
  ['x = [1]\nwhile True: x = [x, x]\ny = 1\n', /too many steps/],
  ['x = [1]\nfor i in range(40): x = [x, x]\ny = str(x)\n', /^cfg:3:5: a value is too big to be looked at as a whole$/],
  ['x = [1]\ny = [1]\nfor i in range(40):\n  x = [x, x]\n  y = [y, y]\nz = x == y\n', /too big to be looked at/],
  ['x = []\nwhile True: x.append([0] * 90000)\n', /too many steps/],
  ['import re\nx = re.match("^(a+)+$", "a" * 50 + "b")\n', /^cfg:2:\d+: a regular expression takes too long$/],
  ['x = "%d" % "a"\n',                  /a number is required/],
  ['x = "%d %d" % 1\n',                 /not enough arguments/],
  ['x = "%999999999d" % 1\n',           /is too much/],
  [`x = ${'('.repeat(5000)}1${')'.repeat(5000)}\n`, /nested too deeply|syntax error/],
];

for (const [text, message] of ERRORS) {
  test(`${JSON.stringify(text.slice(0, 50))} is refused in one line`, () => {
    assert.throws(
      () => run(text),
      (error: unknown) => {
        assert.ok(error instanceof ConfigError, String(error));
        assert.match(error.message, message);
        assert.ok(!error.message.includes('\n'));
        return true;
      },
    );
  });
}

test('print goes to the port it was given, in both spellings', () => {
  printed.length = 0;
  run('print("a", 1)\nprint "b"\n');
  assert.deepEqual(printed, ['a 1', 'b']);
});

test('places and reads of names are told', () => {
  const { places, read } = run('a = 1\n  \nb = a\n');
  assert.deepEqual(places.get('b'), { line: 3, column: 1 });
  assert.ok(read.has('a') && !read.has('b'));
});

test('random bytes never bring anything but a ConfigError', () => {
  let seed = 11;
  const random = (n: number) => (seed = (seed * 1103515245 + 12345) & 0x7fffffff) % n;
  const pieces = [
    'x',
    ' = ',
    '1',
    '"a"',
    '(',
    ')',
    '[',
    ']',
    '{',
    '}',
    ',',
    ':',
    '\n',
    '  ',
    'if ',
    'for ',
    ' in ',
    'def ',
    'f',
    '%',
    '+',
    '.',
    'not ',
    'lambda ',
    "'",
    '\\',
    'f"{',
    '}"',
    'import ',
    'try',
    'except',
    '*',
    '**',
    '0',
    'raise ',
    'return ',
  ];
  for (let i = 0; i < 3000; i++) {
    const text = Array.from({ length: random(14) }, () => pieces[random(pieces.length)]).join('');
    try {
      run(text);
    } catch (error) {
      assert.ok(
        error instanceof ConfigError,
        `seed 11, round ${i}: ${JSON.stringify(text)}: ${(error as Error).stack}`,
      );
    }
  }
});
