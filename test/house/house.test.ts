/** The checks of the house itself: each finds what it is for, and the table of layers knows every folder. */
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { test } from 'node:test';
import { importProblems, LAYERS } from '../../scripts/layers.ts';
import { portabilityProblems, RULES } from '../../scripts/portable.ts';

test('the table of layers has one row for each folder of src', () => {
  const folders = readdirSync(new URL('../../src', import.meta.url), { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => name);
  assert.deepEqual(Object.keys(LAYERS).sort(), folders.sort());
});

// biome-ignore format: a table
const CASES: readonly [story: string, file: string, source: string, problem: RegExp | undefined][] = [
  ['the core imports the core',              'src/devices/a.ts',   "import { u8 } from '../abi/struct.ts';\n",                     undefined],
  ['the core imports no adapter',            'src/store/a.ts',     "import { x } from '../host/paths.ts';\n",                      /a\.ts:1: src\/store may not import src\/host/],
  ['the core imports nothing of Node',       'src/abi/a.ts',       "\n\nimport fs from 'node:fs';\n",                              /a\.ts:3: .*package node:fs/],
  ['not even for its types',                 'src/abi/a.ts',       "import type fs from 'node:fs';\n",                             /package node:fs/],
  ['imports point up',                       'src/monitor/a.ts',   "export * from '../xend/xend.ts';\n",                           /src\/monitor may not import src\/xend/],
  ['an import over several lines',           'src/x86/a.ts',       "import {\n  a,\n  b,\n} from '../wasm/expr.ts';\n",            /a\.ts:4: /],
  ['an import for its effect',               'src/x86/a.ts',       "import '../wasm/expr.ts';\n",                                  /src\/wasm/],
  ['a dynamic import',                       'src/xm/a.ts',        "const a = await import('../monitor/main.ts');\n",              /src\/monitor/],
  ['a file named for a worker',              'src/xm/a.ts',        "new URL('../monitor/main.ts', import.meta.url);\n",            /src\/monitor/],
  ['types where only types are allowed',     'src/sdk/a.ts',       "import type { Reply } from '../xend/routes.ts';\n",            undefined],
  ['a value where only types are allowed',   'src/sdk/a.ts',       "import { ROUTES } from '../xend/routes.ts';\n",                /more than types/],
  ['one file of a folder',                   'src/translate/a.ts', "import { GuestMemory } from '../hypervisor/memory.ts';\n",     undefined],
  ['another file of that folder',            'src/translate/a.ts', "import { Vcpu } from '../hypervisor/vcpu.ts';\n",              /hypervisor\/vcpu/],
  ['a package of another folder',            'src/xm/a.ts',        "import { fastify } from 'fastify';\n",                         /package fastify/],
  ['the source uses no tests',               'src/xend/a.ts',      "import { a } from '../../test/cpu/fuzz.ts';\n",                /may not import test\/cpu/],
  ['a folder without a row',                 'src/new/a.ts',       '',                                                             /no row/],
];
for (const [story, file, source, problem] of CASES) {
  test(`layers: ${story}`, () => {
    const problems = importProblems(file, source).join('\n');
    if (problem) assert.match(problems, problem);
    else assert.equal(problems, '');
  });
}

test('a line with the name of a package registry is found by file and line', () => {
  const host = ['registry', 'example', 'org'].join('.');
  assert.deepEqual(portabilityProblems('docs/a.md', `one\nhttps://${host}/x\n`), [
    'docs/a.md:2: names a package registry',
  ]);
  assert.deepEqual(portabilityProblems('a.ts', 'const registry = { org: 1 };'), []);
});

test('addresses in package-lock.json are found', () => {
  const line = `      "resolved": "somewhere"`;
  assert.equal(portabilityProblems('package-lock.json', line).length, 1);
  assert.deepEqual(portabilityProblems('other.json', line), []);
});

test("the checkout's own path is found, longer names that begin alike are not", () => {
  const rules = RULES.filter(({ about }) => about === 'a path of this machine');
  const root = new URL('../..', import.meta.url).pathname.replace(/\/$/, '');
  if (root.split('/').length <= 2) return; // A checkout at the top of the file system looks like any other path.
  assert.equal(portabilityProblems('a.ts', `see ${root}/src`, rules).length, 1);
  assert.deepEqual(portabilityProblems('a.ts', `see ${root}er/src`, rules), []);
});
