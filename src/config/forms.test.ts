/** Configuration files that are not Python: JSON, SXP and xl's own grammar, with the command line on top of each. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, test } from 'node:test';
import { assignments } from './command-line.ts';
import { loadConfig, type Variables } from './load.ts';
import { repr } from './python/values.ts';
import { readXlGrammar } from './xl-grammar.ts';

const dir = mkdtempSync(path.join(os.tmpdir(), 'domus-forms-'));
after(() => rmSync(dir, { recursive: true, force: true }));

async function load(text: string, variables: Variables = [], sxp = false) {
  const file = path.join(dir, 'cfg');
  writeFileSync(file, text);
  const warnings: string[] = [];
  const warn = (line: string) => warnings.push(line.replaceAll(dir, 'DIR'));
  try {
    const { config } = await loadConfig({ file, sxp, search: [], variables, warn, print: () => {} });
    return { config, warnings };
  } catch (error) {
    throw new Error((error as Error).message.replaceAll(dir, 'DIR'));
  }
}

test('JSON needs a name and a kernel; the rest has defaults, and the command line is stronger', async () => {
  const { config } = await load('{"name": "a", "kernel": "/k", "memoryMiB": 64}', [
    ['name', 'b'],
    ['memory', '96'],
    ['disk', 'file:/d,sda1,w'],
  ]);
  assert.deepEqual(config, {
    name: 'b',
    kernel: '/k',
    memoryMiB: 96,
    maxmemMiB: 96,
    vcpus: 1,
    disks: [{ uname: 'file:/d', dev: 'sda1', mode: 'w' }],
    vifs: [],
    onPoweroff: 'destroy',
    onReboot: 'restart',
    onCrash: 'destroy',
  });
});

test('SXP as xm create --dryrun prints it', async () => {
  const { config, warnings } = await load('(vm (name a) (image (linux (kernel k))) (vnet 1))', [['extra', '4']], true);
  assert.deepEqual([config.name, config.kernel, config.args], ['a', path.resolve('k'), '4']);
  assert.deepEqual(warnings, ['DIR/cfg: not used by Domus: vnet']);
});

// biome-ignore format: a table
const WRONG: [text: string, variables: Variables, sxp: boolean, message: RegExp][] = [
  ['{"name": "a"',                                   [],                  false, /^DIR\/cfg: .*JSON/],
  ['{"name": "a"}',                                  [],                  false, /^DIR\/cfg: kernel is missing$/],
  ['{"name": "a", "kernel": "/k", "memory": 64}',    [],                  false, /^DIR\/cfg: memory is not known$/],
  ['{"name": "a", "kernel": "/k", "memoryMiB": "x"}',[],                  false, /^DIR\/cfg: memoryMiB: "x": expected integer$/],
  ['{"name": "a", "kernel": "/k", "onCrash": "no"}', [],                  false, /^DIR\/cfg: onCrash: "no": one of destroy, /],
  ['{"name": "a", "kernel": "/k", "disks": [{}]}',   [],                  false, /^DIR\/cfg: disks\.0\.uname is missing$/],
  ['{"name": "a b", "kernel": "/k"}',                [],                  false, /invalid vm name/],
  ['{"name": "a", "kernel": "/k"}',                  [['vmid', '1']],     false, /^vmid=1: only a file in Python/],
  ['{"name": "a", "kernel": "/k"}',                  [['memory', 'x']],   false, /^memory=x: Invalid value: x/],
  ['(vm (name a)',                                   [],                  true,  /^DIR\/cfg: 1:13: a list has no end$/],
  ['',                                               [],                  true,  /^DIR\/cfg: \(vm \.\.\.\) is wanted/],
  ['kernel = [1',                                    [],                  false, /^DIR\/cfg:1:\d+: syntax error/],
];
for (const [text, variables, sxp, message] of WRONG)
  test(`refused: ${text} ${variables.join()}`, () => assert.rejects(load(text, variables, sxp), { message }));

test("a file in xl's grammar that is no Python", async () => {
  const text = `# a comment
  kernel = "/k"; memory = 0x40
name = 'xl-guest'
    vcpus=02 # octal
extra += "console=hvc0"
extra += " quiet"
disk = [ '/a.img,raw,xvda,rw',
  [ "nested" ],
]`;
  const { values, places } = readXlGrammar(text)!;
  assert.deepEqual(
    [...values].map(([name, value]) => `${name} ${repr(value)}`),
    [
      "kernel '/k'",
      'memory 64',
      "name 'xl-guest'",
      'vcpus 2',
      "extra 'console=hvc0 quiet'",
      "disk ['/a.img,raw,xvda,rw', ['nested']]",
    ],
  );
  assert.deepEqual(places.get('vcpus'), { line: 4, column: 5 });
  const { config } = await load(text.replace('  [ "nested" ],\n', ''));
  assert.deepEqual([config.vcpus, config.args, config.disks.length], [2, 'console=hvc0 quiet', 1]);
});

for (const text of ['a = b', 'a = [1', 'a 1', 'a = "x', 'a = 1 b = 2', 'x += 1\nx += "a"', 'a = (1)'])
  test(`not xl's grammar: ${JSON.stringify(text)}`, () => assert.equal(readXlGrammar(text), undefined));

// biome-ignore format: a table
const WORDS: [word: string, set: [string, string][] | undefined][] = [
  ['web.cfg',                             undefined],
  ['/a=b/web.cfg',                        undefined],
  ['vmid=01',                             [['vmid', '01']]],
  ['name="web"',                          [['name', 'web']]],
  ["extra='4 a=b; c=d'",                  [['extra', '4 a=b; c=d']]],
  ['memory=64; vcpus=2',                  [['memory', '64'], ['vcpus', '2']]],
  ["name='w'; disk=['phy:a,xvda,w', \"phy:b,xvdb,r\"]; memory=64", [['name', 'w'], ['disk', 'phy:a,xvda,w'], ['disk', 'phy:b,xvdb,r'], ['memory', '64']]],
  ['disk=phy:a,xvda,w',                   [['disk', 'phy:a,xvda,w']]],
  ['vif=[]',                              [['vif', '']]],
  ["extra=it's",                          [['extra', "it's"]]],
];
for (const [word, set] of WORDS) test(`the word ${word}`, () => assert.deepEqual(assignments(word), set));
