/**
 * Anything at all as a configuration: whatever a file, an SXP or a JSON document holds, the answer is a configuration or one
 * line that says what is wrong. Seeded: a failure names its seed and round.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { checkConfig } from './check.ts';
import { ConfigError } from './config-error.ts';
import { configFromText } from './load.ts';
import type { HostFacts } from './python/builtins.ts';
import { parseSxp, printCompact, printPretty, type Sxp, SxpError } from './sxp.ts';
import { configFromSxp, vmSxp } from './vm-sxp.ts';
import { readXlGrammar } from './xl-grammar.ts';

const SEED = 20041105;

/** Numerical Recipes' generator: the same rounds on every machine. */
function generator(seed: number) {
  let state = seed;
  const below = (n: number) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * n);
  };
  const pick = <T>(items: readonly T[]): T => items[below(items.length)]!;
  return { below, pick };
}
type Chance = ReturnType<typeof generator>;

/** Cut, repeat, swap or change a few places of a text. */
function mutate(text: string, { below, pick }: Chance): string {
  let out = text;
  for (let i = 1 + below(4); i > 0; i--) {
    const at = below(out.length + 1);
    const length = below(12);
    const piece = out.slice(below(out.length + 1)).slice(0, length);
    const junk = pick([
      '',
      '\0',
      "'",
      '"',
      '(',
      ')',
      '[',
      ']',
      '\\',
      '\n',
      '#',
      '=',
      ',',
      '%',
      '{',
      '\u2028',
      '9'.repeat(30),
      piece,
    ]);
    out = out.slice(0, at) + junk + out.slice(at + below(3) * length);
  }
  return out;
}

const host: HostFacts = {
  env: { HOME: '/root' },
  uname: ['Linux', 'calypso', '6.1', '#1', 'x86_64'],
  cwd: '/',
  exists: () => undefined,
  interfaceAddress: () => undefined,
  gateway: () => undefined,
  print: () => {},
};

const PYTHON = `import os, re
arch = os.uname()[4]
def check(var, val):
    val = int(val)
    if val <= 0: raise ValueError
    return val
xm_vars.var('vmid', use="number", check=check)
xm_vars.check()
kernel = "/boot/vmlinuz-%s" % arch
name = "VM%d" % vmid; memory = 64 + 2 * vmid
disk = [ 'phy:sda%d,sda1,w' % (7+vmid), 'file:/a.img,xvdb,r' ]
if re.search('64', arch): extra = f"4 VMID={vmid:02d}"
else: extra = '4'
vif = [ 'mac=aa:00:00:00:00:%02x, bridge=xen-br0' % i for i in range(2) ]
on_crash = {'a': 'restart'}['a']
`;

function oneLine(round: string, text: string, work: () => unknown): void {
  try {
    work();
  } catch (error) {
    const known = error instanceof ConfigError || error instanceof SxpError;
    assert.ok(known, `seed ${SEED}, ${round}: ${JSON.stringify(text)}: ${(error as Error).stack}`);
    assert.doesNotMatch(
      (error as Error).message,
      /\n|undefined|\[object/,
      `seed ${SEED}, ${round}: ${JSON.stringify(text)}`,
    );
  }
}

test('files in Python, damaged', () => {
  const chance = generator(SEED);
  const load = (text: string) =>
    configFromText(text, {
      file: 'cfg',
      search: [],
      variables: [['vmid', '3']],
      host,
      warn: () => {},
      print: () => {},
      randomMac: () => 'aa:00:00:00:00:01',
    });
  assert.equal(load(PYTHON).name, 'VM3');
  for (let i = 0; i < 400; i++) {
    const text = mutate(PYTHON, chance);
    oneLine(`round ${i}`, text, () => load(text));
  }
});

test("files in xl's grammar, damaged: read or not, never more", () => {
  const chance = generator(SEED);
  const text = `name = "a"; memory = 0x40\ndisk = [ 'phy:a,xvda,w', [ "b", 07 ], ]\nextra += 'x\\'y' # end\n`;
  assert.ok(readXlGrammar(text));
  for (let i = 0; i < 3000; i++) readXlGrammar(mutate(text, chance));
});

/** Any expression, with words that must be quoted. */
function anySxp(chance: Chance, depth: number): Sxp {
  const words = [
    'vm',
    'name',
    '',
    ' ',
    "it's",
    'a"b',
    'n"f\'s',
    '\n',
    '\x01',
    'ü',
    '(',
    '#',
    'a=b',
    '@',
    '\\',
    '\\x41',
    '10',
  ];
  if (depth === 0 || chance.below(3) === 0) return chance.pick(words);
  return Array.from({ length: chance.below(5) }, () => anySxp(chance, depth - 1));
}

test('SXP: what is printed is read back the same, compact and pretty', () => {
  const chance = generator(SEED);
  for (let i = 0; i < 2000; i++) {
    const sxp = anySxp(chance, 5);
    for (const text of [printCompact(sxp), printPretty(sxp)])
      assert.deepEqual(parseSxp(text), [sxp], `seed ${SEED}, round ${i}: ${JSON.stringify(text)}`);
  }
});

const VM = printPretty(
  vmSxp({
    name: 'a',
    kernel: '/k',
    memoryMiB: 64,
    maxmemMiB: 128,
    vcpus: 2,
    args: "4 it's",
    disks: [{ uname: 'phy:a', dev: 'sda1', mode: 'w', shared: true }],
    vifs: [{ mac: 'aa:00:00:00:00:01', bridge: 'br0' }],
    onPoweroff: 'destroy',
    onReboot: 'restart',
    onCrash: 'preserve',
  }),
);

test('SXP: damaged text is refused in one line, and so is what is no configuration', () => {
  const chance = generator(SEED);
  const read = (text: string) => checkConfig(configFromSxp(parseSxp(text)[0] ?? '', () => 'aa:00:00:00:00:01').config);
  assert.equal(read(VM).name, 'a');
  for (let i = 0; i < 2000; i++) {
    const text = i % 4 === 0 ? printCompact(['vm', anySxp(chance, 4), anySxp(chance, 4)]) : mutate(VM, chance);
    oneLine(`round ${i}`, text, () => read(text));
  }
});

test('JSON of any shape is refused in one line', () => {
  const chance = generator(SEED);
  const any = (depth: number): unknown => {
    const plain = [null, true, 0, -1, 1e300, '', 'x', '/k', [], {}];
    if (depth === 0 || chance.below(2) === 0) return chance.pick(plain);
    if (chance.below(2) === 0) return [any(depth - 1), any(depth - 1)];
    return { uname: any(0), dev: any(depth - 1), mode: 'w', [chance.pick(['mac', 'x', '__proto__'])]: any(0) };
  };
  const keys = ['name', 'kernel', 'memoryMiB', 'vcpus', 'disks', 'vifs', 'onCrash', 'uuid', 'frob'];
  for (let i = 0; i < 2000; i++) {
    const value = chance.below(20) === 0 ? any(3) : Object.fromEntries(keys.map((key) => [key, any(2)]));
    oneLine(`round ${i}`, JSON.stringify(value), () => checkConfig(value));
  }
});
