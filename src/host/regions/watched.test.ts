import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { CODE, TestMachine } from '../../translate/region/machine-for-tests.ts';
import { CALLERS_BEGIN, callers, loops } from '../../translate/region/program-for-tests.ts';
import { Exit } from '../../x86/exits.ts';
import { GPR } from '../../x86/state.ts';
import { RegionFolder } from './kept.ts';
import { keepRegions } from './kept-files.ts';
import { WatchedRegions } from './watched.ts';

/** O: call rdx; dec rcx; jnz O; syscall; and in the next page, so that they are two regions, F: inc rax; ret */
const PROGRAM = new Uint8Array(0x1004);
PROGRAM.set([0xff, 0xd2, 0x48, 0xff, 0xc9, 0x75, 0xf9, 0x0f, 0x05]);
PROGRAM.set([0x48, 0xff, 0xc0, 0xc3], 0x1000);
const F = CODE + 0x1000;
const ROUNDS = 500;

function run(machine: TestMachine): void {
  const registers = new Array<bigint>(16).fill(0n);
  registers[GPR.rcx] = BigInt(ROUNDS);
  registers[GPR.rdx] = BigInt(F);
  machine.load(PROGRAM, registers, 2);
  assert.equal(
    machine.run(() => 1_000_000),
    Exit.Syscall,
  );
  assert.equal(machine.gpr(GPR.rax), BigInt(ROUNDS));
}

test('a watched region is told with its code, its WebAssembly and how often it was entered', () => {
  const machine = new TestMachine(1);
  const watched = new WatchedRegions(() => 7);
  machine.engine.watchRegions(watched);
  run(machine);
  const views = watched.views(10, () => 0);
  const f = views.find(({ address }) => address === F.toString(16).padStart(16, '0'))!;
  assert.ok(f.executions > ROUNDS - 10 && f.executions <= ROUNDS, `entered ${f.executions} times`);
  const at = (va: number): string => va.toString(16).padStart(16, '0');
  assert.deepEqual(f.guest, [`>${at(F)}  inc rax`, ` ${at(F + 3)}  ret`]);
  assert.deepEqual([f.instructions, f.blocks, f.entries, f.how, f.root], [2, 1, 1, 'made', 7]);
  assert.deepEqual(f.parts, [{ address: at(F), instructions: 2 }]);
  assert.match(f.wasm.join('\n'), /^\(local .*\n[\s\S]*i64\.add/);
  assert.ok(f.wasm.every((line) => !line.includes('not known')));
});

test('the heaviest region comes first, and no more are told of than asked for', () => {
  const machine = new TestMachine(1);
  const watched = new WatchedRegions();
  machine.engine.watchRegions(watched);
  run(machine);
  const all = watched.views(10, () => 0);
  const [last] = all.slice(-1);
  const [first, ...rest] = watched.views(1, (id) => (id === last!.id ? 1 : 0));
  assert.equal(first!.address, last!.address);
  assert.deepEqual(rest, []);
});

test('a region that is kept from another domain is told at the address where it is in this one', (t) => {
  const folder = mkdtempSync(path.join(tmpdir(), 'watched-regions-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const keeper = (): RegionFolder => new RegionFolder(folder, 'v1', (regions) => keepRegions(folder, 'v1', regions));
  const { code, registers, flags } = loops([1, 2, 3]);
  const first = new TestMachine(20, false, { kept: keeper() });
  first.load(code, registers, flags);
  // A region is made at the end of a slice.
  first.run(() => 50);
  first.engine.keepRegions(1);
  const second = new TestMachine(20, false, { kept: keeper() });
  const watched = new WatchedRegions();
  second.engine.watchRegions(watched);
  second.load(new Uint8Array(0), registers, flags);
  const elsewhere = CODE + 0x5000;
  second.memory.u8.set(code, second.at(elsewhere));
  second.goto(elsewhere);
  assert.equal(
    second.run(() => 1_000_000),
    Exit.Syscall,
  );
  const views = watched.views(10, () => 0);
  const offsets = views.map(({ address }) => Number(`0x${address}`) - elsewhere);
  assert.ok(offsets.length > 0 && offsets.every((offset) => offset >= 0 && offset < code.length), offsets.join());
  const addresses = second.engine.regionAddresses();
  for (const { id, address, how, wasm, guest } of views) {
    assert.equal(how, 'kept');
    assert.equal(addresses.get(id), BigInt(`0x${address}`));
    assert.ok(wasm.length > 10);
    assert.match(guest.find((line) => line.startsWith(`>${address}`)) ?? '', /mov|add/);
  }
});

test('regions that are joined are told as one, with the code of all', () => {
  const { code, registers, flags } = callers(120_000);
  const machine = new TestMachine(20);
  const watched = new WatchedRegions();
  machine.engine.watchRegions(watched);
  machine.load(code, registers, flags);
  machine.goto(CODE + CALLERS_BEGIN);
  let slices = 0;
  machine.run(() => (slices++ < 20 ? 30 : 3000) + (slices % 3));
  const joined = watched.views(10, () => 0).find(({ how }) => how === 'joined')!;
  // LOOP and the function that it calls, in the other page.
  assert.deepEqual(
    joined.parts.map(({ address, instructions }) => [Number(`0x${address}`), instructions]),
    [
      [CODE + 0x110, 3],
      [CODE + 0x1000, 41],
    ],
  );
  assert.equal(joined.instructions, 44);
});

test('nothing is counted of regions when nobody watches any more', () => {
  const machine = new TestMachine(1);
  const watched = new WatchedRegions();
  machine.engine.watchRegions(watched);
  run(machine);
  const before = watched.views(10, () => 0).map(({ executions }) => executions);
  machine.engine.watchRegions(undefined);
  run(machine);
  assert.deepEqual(
    watched.views(10, () => 0).map(({ executions }) => executions),
    before,
  );
});
