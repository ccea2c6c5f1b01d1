import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CODE, TestMachine } from '../../translate/region/machine-for-tests.ts';
import { Exit } from '../../x86/exits.ts';
import { GPR } from '../../x86/state.ts';
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
  const watched = new WatchedRegions();
  machine.engine.watchRegions(watched);
  run(machine);
  const views = watched.views(10, () => 0);
  const f = views.find(({ address }) => address === F.toString(16).padStart(16, '0'))!;
  assert.ok(f.executions > ROUNDS - 10 && f.executions <= ROUNDS, `entered ${f.executions} times`);
  const at = (va: number): string => va.toString(16).padStart(16, '0');
  assert.deepEqual(f.guest, [`>${at(F)}  inc rax`, ` ${at(F + 3)}  ret`]);
  assert.deepEqual([f.instructions, f.blocks, f.entries], [2, 1, 1]);
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
  const [first, ...rest] = watched.views(1, (address) => (address === last!.address ? 1 : 0));
  assert.equal(first!.address, last!.address);
  assert.deepEqual(rest, []);
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
