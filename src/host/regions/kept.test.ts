/** Regions that outlive their domain: the next one runs them for the same code, and for no other. */
import assert from 'node:assert/strict';
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import type { CodeCache } from '../../translate/interpreter/code-cache.ts';
import { REGION_SLOTS } from '../../translate/layout.ts';
import { CODE, DATA, TestMachine } from '../../translate/region/machine-for-tests.ts';
import { loops, type Program, randomProgram } from '../../translate/region/program-for-tests.ts';
import { Exit } from '../../x86/exits.ts';
import { GPR } from '../../x86/state.ts';
import type { Regions } from './index.ts';
import { type KeptLoader, RegionFolder } from './kept.ts';
import { type KeptRegion, keepRegions, loadFile, makeWanted, uncompiled, wantedFiles } from './kept-files.ts';
import type { Region } from './table.ts';

const VERSION = 'v1';
const many = (): number => 1_000_000;

function folderOf(t: TestContext): string {
  const folder = mkdtempSync(path.join(tmpdir(), 'kept-regions-'));
  t.after(() => rmSync(folder, { recursive: true }));
  return path.join(folder, 'regions');
}
const keeper = (folder: string): RegionFolder =>
  new RegionFolder(folder, VERSION, (regions) => keepRegions(folder, VERSION, regions));

/** Of the regions that may be entered at `key`. */
const instructionsOf = (kept: RegionFolder, key: number): unknown[] =>
  kept.find(key).map((place) => {
    const origin = kept.origin(place);
    return typeof origin === 'object' ? origin.instructions : origin;
  });

function outcome(machine: TestMachine, { code, registers, flags }: Program, budget = many): unknown {
  machine.load(code, registers, flags);
  const exit = machine.run(budget);
  return { exit, ...machine.state };
}
const keptBy = ({ engine }: TestMachine): number => engine.statistics.regionsKept;

const numbers = Array.from({ length: 16 }, (_, k) => k + 1);
const THRESHOLD = 20;
const SUM = 100n * 136n;

test('programs of chance come to the same end with regions that another domain, with less memory, has made', (t) => {
  const folder = folderOf(t);
  const programs = Array.from({ length: 40 }, (_, k) => randomProgram(5001 + k));
  const interpreter = new TestMachine(0);
  const first = new TestMachine(1, false, { kept: keeper(folder) });
  const expected = programs.map((program) => outcome(interpreter, program));
  for (const [k, program] of programs.entries()) assert.deepEqual(outcome(first, program), expected[k], program.name);
  first.engine.keepRegions(1);
  assert.equal(keptBy(first), 0);
  const second = new TestMachine(1, false, { kept: keeper(folder), frames: 200 });
  for (const [k, program] of programs.entries()) assert.deepEqual(outcome(second, program), expected[k], program.name);
  assert.ok(keptBy(second) > 40, `${keptBy(second)} regions were kept`);
});

/** Reads at once, and gives away what it has read when `has` says so. */
const late = (has: () => boolean): KeptLoader => ({
  load: (file) => {
    const loaded = loadFile(file) ?? false;
    let isThere = false;
    return {
      get loaded() {
        isThere ||= has();
        return isThere ? loaded : undefined;
      },
    };
  },
});
const lateKeeper = (folder: string, has: () => boolean): RegionFolder =>
  new RegionFolder(folder, VERSION, () => {}, late(has), 0);

test('programs of chance come to the same end, however late kept regions come', (t) => {
  const folder = folderOf(t);
  const programs = Array.from({ length: 40 }, (_, k) => randomProgram(6001 + k, { faults: k % 2 === 1 }));
  const budgets = programs.map((_, k) => () => 2 + (k % 11));
  const interpreter = new TestMachine(0);
  const expected = programs.map((program, k) => outcome(interpreter, program, budgets[k]));
  const first = new TestMachine(1, false, { kept: keeper(folder) });
  for (const [k, program] of programs.entries()) outcome(first, program, budgets[k]);
  first.engine.keepRegions(1);
  let asked = 0;
  const second = new TestMachine(1000, false, { kept: lateKeeper(folder, () => ++asked % 4 === 0) });
  for (const [k, program] of programs.entries())
    assert.deepEqual(outcome(second, program, budgets[k]), expected[k], program.name);
  assert.ok(keptBy(second) > 40, `${keptBy(second)} regions were kept`);
});

test('what control came to while its file was being loaded is entered from then on, unless it has changed', (t) => {
  const folder = folderOf(t);
  const first = new TestMachine(THRESHOLD, false, { kept: keeper(folder) });
  outcome(first, loops(numbers));
  first.engine.keepRegions(1);
  let isThere = false;
  const second = new TestMachine(many(), false, { kept: lateKeeper(folder, () => isThere) });
  const slices = (): number => 7;
  outcome(second, loops(numbers), slices);
  assert.equal(second.gpr(GPR.rax), SUM);
  assert.equal(keptBy(second), 0);
  isThere = true;
  // The first loop has another number by now; the region that has the others as well was made from it, too.
  outcome(second, loops(numbers.with(0, 7)), slices);
  assert.equal(second.gpr(GPR.rax), SUM + 600n);
  const changed = keptBy(second);
  const third = new TestMachine(many(), false, { kept: lateKeeper(folder, () => isThere) });
  isThere = false;
  outcome(third, loops(numbers), slices);
  isThere = true;
  third.goto(CODE);
  assert.equal(third.run(slices), Exit.Syscall);
  assert.equal(third.gpr(GPR.rax), 2n * SUM);
  assert.ok(keptBy(third) > changed, `${keptBy(third)} and ${changed} regions were entered`);
});

test('what one domain has translated the next one runs from the first time on', (t) => {
  const folder = folderOf(t);
  const first = new TestMachine(THRESHOLD, false, { kept: keeper(folder) });
  outcome(first, loops(numbers));
  assert.equal(first.gpr(GPR.rax), SUM);
  first.engine.keepRegions(1);
  const second = new TestMachine(THRESHOLD, false, { kept: keeper(folder) });
  outcome(second, loops(numbers));
  assert.equal(second.gpr(GPR.rax), SUM);
  assert.equal(keptBy(second), first.engine.statistics.regions);
  assert.equal(second.engine.statistics.regionModules, 0, 'nothing was translated');
});

test('what is warm in one domain is not translated there, but made for the next one, once', (t) => {
  const folder = folderOf(t);
  const first = new TestMachine(10_000, false, { kept: keeper(folder), warm: 50 });
  for (let k = 0; k < 3; k++) outcome(first, loops(numbers));
  assert.equal(first.engine.statistics.regions, 0);
  while (first.engine.planWarm());
  const wanted = wantedFiles(folder, VERSION);
  assert.ok(wanted.length > 0);
  assert.deepEqual(wantedFiles(folder, 'v2'), []);
  for (const file of wanted) makeWanted(folder, VERSION, file);
  const made = readdirSync(folder);
  assert.ok(made.length > 0 && made.every((name) => name.endsWith('.regions')), made.join(' '));
  const second = new TestMachine(10_000, false, { kept: keeper(folder), warm: 50 });
  outcome(second, loops(numbers));
  assert.equal(second.gpr(GPR.rax), SUM);
  assert.ok(keptBy(second) > 0);
  while (second.engine.planWarm());
  assert.deepEqual(readdirSync(folder), made, 'nothing more is wanted');
  const alike = new TestMachine(10_000, false, { kept: new RegionFolder(folder, 'v3', () => {}), warm: 50 });
  for (let k = 0; k < 3; k++) outcome(alike, loops(numbers));
  while (alike.engine.planWarm());
  assert.equal(wantedFiles(folder, 'v3').length, wanted.length, 'of another version nothing is known');
});

test('programs of chance come to the same end with regions that were made of what was warm elsewhere', (t) => {
  const folder = folderOf(t);
  const programs = Array.from({ length: 40 }, (_, k) => randomProgram(8001 + k, { faults: k % 2 === 1 }));
  const interpreter = new TestMachine(0);
  const expected = programs.map((program) => outcome(interpreter, program));
  for (const program of programs) {
    const first = new TestMachine(10_000, false, { kept: keeper(folder), warm: 3 });
    outcome(first, program);
    while (first.engine.planWarm());
  }
  for (const file of wantedFiles(folder, VERSION)) makeWanted(folder, VERSION, file);
  const second = new TestMachine(10_000, false, { kept: keeper(folder) });
  for (const [k, program] of programs.entries()) assert.deepEqual(outcome(second, program), expected[k], program.name);
  assert.ok(keptBy(second) > 20, `${keptBy(second)} regions were kept`);
});

test('what is wanted is tried once: a damaged file goes without making anything', (t) => {
  const folder = folderOf(t);
  const first = new TestMachine(10_000, false, { kept: keeper(folder), warm: 50 });
  outcome(first, loops(numbers));
  while (first.engine.planWarm());
  const wanted = wantedFiles(folder, VERSION);
  assert.ok(wanted.length > 0);
  for (const file of wanted) {
    const content = readFileSync(file);
    content[content.length >> 1]! ^= 1;
    writeFileSync(file, content);
    makeWanted(folder, VERSION, file);
  }
  assert.deepEqual(readdirSync(folder), []);
});

test('code that differs in one byte, or lies elsewhere in its page, is translated anew', (t) => {
  const folder = folderOf(t);
  const first = new TestMachine(THRESHOLD, false, { kept: keeper(folder) });
  outcome(first, loops(numbers));
  first.engine.keepRegions(1);
  const changed = new TestMachine(THRESHOLD, false, { kept: keeper(folder) });
  outcome(changed, loops(numbers.map((number) => number + 1)));
  assert.equal(changed.gpr(GPR.rax), SUM + 1600n);
  assert.equal(keptBy(changed), 0);
  const moved = new TestMachine(THRESHOLD, false, { kept: keeper(folder) });
  outcome(moved, loops(numbers, 0x10));
  assert.equal(moved.gpr(GPR.rax), SUM);
  assert.equal(keptBy(moved), 0);
});

test('a kept region goes when the guest changes its code', (t) => {
  const folder = folderOf(t);
  const first = new TestMachine(THRESHOLD, false, { kept: keeper(folder) });
  outcome(first, loops(numbers));
  first.engine.keepRegions(1);
  const second = new TestMachine(THRESHOLD, false, { kept: keeper(folder) });
  // mov byte [CODE+8], 101 in front of everything, at DATA: the first loop's number.
  outcome(second, loops(numbers));
  assert.ok(keptBy(second) > 0);
  const store = [0xc6, 0x04, 0x25, 8, 0, 0x40, 0, 101, 0x31, 0xc0, 0xb9, ...le32(CODE), 0xff, 0xe1];
  second.memory.u8.set(store, second.at(DATA));
  second.engine.frameWritten((second.at(DATA) - second.memory.at(0)) >>> 12);
  second.goto(DATA);
  assert.equal(second.run(many), Exit.Syscall);
  assert.equal(second.gpr(GPR.rax), SUM + 10_000n);
});

test('the region is gone too when its code changes in a page that nobody has decoded', (t) => {
  const folder = folderOf(t);
  // mov ecx,100; jmp L; L: add rax,1; jmp P; …  P, in the second page: add rax,2; dec rcx; jnz L; syscall
  const code = new Uint8Array(0x1020).fill(0x90);
  code.set([0xb9, 100, 0, 0, 0, 0xeb, 0, 0x48, 0x83, 0xc0, 1, 0xe9, ...le32(0x1000 - 16)]);
  code.set([0x48, 0x83, 0xc0, 2, 0x48, 0xff, 0xc9, 0x0f, 0x85, ...le32(7 - 0x100d), 0x0f, 0x05], 0x1000);
  const program = { name: 'two pages', code, registers: new Array<bigint>(16).fill(0n), flags: 2 };
  const first = new TestMachine(THRESHOLD, false, { kept: keeper(folder) });
  // A region is made at the end of a slice.
  outcome(first, program, () => 90);
  assert.equal(first.gpr(GPR.rax), 300n);
  first.engine.keepRegions(1);
  const second = new TestMachine(THRESHOLD, false, { kept: keeper(folder) });
  outcome(second, program);
  assert.equal(second.gpr(GPR.rax), 300n);
  assert.ok(keptBy(second) > 0);
  const page = second.at(CODE + 0x1000);
  second.memory.u8[page + 3] = 101;
  second.engine.frameWritten((page - second.memory.at(0)) >>> 12);
  second.goto(CODE);
  assert.equal(second.run(many), Exit.Syscall);
  assert.equal(second.gpr(GPR.rax), 300n + 10_200n);
});

const le32 = (value: number): number[] => [value & 255, (value >> 8) & 255, (value >> 16) & 255, value >>> 24];

test('damaged files, and those of another version, are not there', (t) => {
  const folder = folderOf(t);
  const first = new TestMachine(THRESHOLD, false, { kept: keeper(folder) });
  outcome(first, loops(numbers));
  first.engine.keepRegions(1);
  const [name] = readdirSync(folder);
  const file = path.join(folder, name!);
  assert.equal(statSync(file).mode & 0o077, 0, 'nobody else reads or writes it');
  const whole = readFileSync(file);
  for (let k = 0; k < 12; k++) {
    const damaged = Buffer.from(whole);
    damaged[Math.floor((k * (whole.length - 1)) / 11)]! ^= 0x10;
    writeFileSync(file, k % 2 === 0 ? damaged : whole.subarray(0, (whole.length * k) / 12));
    const machine = new TestMachine(THRESHOLD, false, { kept: keeper(folder) });
    outcome(machine, loops(numbers));
    assert.equal(machine.gpr(GPR.rax), SUM);
    assert.equal(keptBy(machine), 0, `damage ${k}`);
  }
  writeFileSync(file, whole);
  const other = new TestMachine(THRESHOLD, false, { kept: new RegionFolder(folder, 'v2', () => {}) });
  outcome(other, loops(numbers));
  assert.equal(keptBy(other), 0);
});

/** A region that has not been written to `folder` yet. */
function madeFor(folder: string): KeptRegion {
  const made: KeptRegion[] = [];
  const machine = new TestMachine(THRESHOLD, false, {
    kept: new RegionFolder(folder, VERSION, (regions) => made.push(...regions)),
  });
  outcome(machine, loops(numbers));
  machine.engine.keepRegions(1);
  return made[0]!;
}

test('of regions for the same code the one made last comes first, whichever was needed last', (t) => {
  const folder = folderOf(t);
  const region = madeFor(folder);
  // The second file has two of them.
  for (const counts of [[100], [300, 200], [150]]) {
    const before = existsSync(folder) ? readdirSync(folder) : [];
    const alike = (instructions: number): KeptRegion => ({ ...region, origin: { ...region.origin, instructions } });
    keepRegions(folder, VERSION, counts.map(alike));
    const written = readdirSync(folder).find((name) => !before.includes(name))!;
    // As if it had not been needed for longer than those before it.
    const time = 1e9 - 1000 * before.length;
    utimesSync(path.join(folder, written), time, time);
    for (const now = Date.now(); Date.now() === now; );
  }
  const kept = keeper(folder);
  const found = instructionsOf(kept, region.origin.keys[0]!);
  assert.deepEqual(found, [150, 200, 300, 100]);
});

test('an entry goes from an older region to a newer one that is adopted, never back, and to none that was made beside it', (t) => {
  const folder = folderOf(t);
  const made = madeFor(folder);
  keepRegions(folder, VERSION, [made]);
  const machine = new TestMachine(THRESHOLD, false, { kept: keeper(folder) });
  outcome(machine, loops(numbers));
  const { table } = (machine.engine as unknown as { readonly regions: Regions }).regions;
  const region = table.at(REGION_SLOTS)!;
  assert.equal(region.age, 1);
  const records = [...region.entries.keys()];
  assert.ok(records.length > 0);
  const taken = (age: number, takesOver: boolean): readonly unknown[] =>
    table.entriesOf(made.origin, region.parts, age, takesOver).filter((entry) => records.some((r) => r === entry));
  assert.deepEqual(taken(0, true), records);
  assert.deepEqual(taken(0, false), []);
  assert.deepEqual(taken(2, true), []);
  // Where its instruction has no record yet.
  const [at] = region.parts.map(({ base }) => base + (made.origin.entries[0]! & 4095));
  const { cache } = machine.engine as unknown as { readonly cache: CodeCache };
  table.release(region);
  cache.drop((at! - machine.memory.at(0)) >>> 12);
  const { origin } = made;
  const install = (age: number): Region =>
    table.install(
      { origin, parts: region.parts, entries: table.entriesOf(origin, region.parts, age, true), age },
      null,
    );
  const older = install(5);
  assert.equal(table.waitingAt(at!), older);
  const newer = install(4);
  assert.equal(table.waitingAt(at!), newer);
  install(6);
  assert.equal(table.waitingAt(at!), newer);
});

test('a guest waits while a file is taken: large regions are kept in several, the last one first', (t) => {
  const folder = folderOf(t);
  const { name, origin } = madeFor(folder);
  // No locals; much that does nothing; i32.const 0, end.
  const bytes = new Uint8Array(40 << 10).fill(0x01);
  bytes[0] = 0;
  bytes.set([0x41, 0, 0x0b], bytes.length - 3);
  const large = { bytes, hints: [] };
  const counts = Array.from({ length: 12 }, (_, k) => 100 + k);
  keepRegions(
    folder,
    VERSION,
    counts.map((instructions) => ({ name, origin: { ...origin, instructions }, code: large })),
  );
  const sizes = readdirSync(folder).map((file) => statSync(path.join(folder, file)).size);
  assert.ok(sizes.length > 1 && Math.max(...sizes) < 150 << 10, `files of ${sizes.join(', ')} bytes`);
  const kept = keeper(folder);
  const found = instructionsOf(kept, origin.keys[0]!);
  assert.deepEqual(found, counts.toReversed());
});

test('nothing is written, neither regions nor their machine code, where the disk is nearly full', (t) => {
  const folder = folderOf(t);
  const full = Number.POSITIVE_INFINITY;
  let free = full;
  const kept = new RegionFolder(folder, VERSION, (regions) => keepRegions(folder, VERSION, regions, free));
  const machine = new TestMachine(THRESHOLD, false, { kept });
  outcome(machine, loops(numbers));
  machine.engine.keepRegions(1);
  assert.deepEqual(readdirSync(folder), []);
  free = 0;
  outcome(machine, loops(numbers, 0x10));
  machine.engine.keepRegions(1);
  assert.deepEqual(uncompiled(folder, full), []);
  assert.equal(uncompiled(folder, 0).length, 1);
});

test('the same regions are written once, by however many domains', (t) => {
  const folder = folderOf(t);
  const machines = [keeper(folder), keeper(folder)].map((kept) => new TestMachine(THRESHOLD, false, { kept }));
  for (const machine of machines) outcome(machine, loops(numbers));
  for (const machine of machines) machine.engine.keepRegions(1);
  assert.equal(readdirSync(folder).length, 1);
});
