/** How much code one region has. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CODE, TestMachine } from '../../translate/region/machine-for-tests.ts';
import { Exit } from '../../x86/exits.ts';
import { GPR, STATE } from '../../x86/state.ts';

const PAIRS = 120;
const ROUNDS = 200;
/** mov ecx,200; L: PAIRS times add rax,1, jz to what follows anyway; dec rcx; jnz L; syscall */
function longLoop(): Uint8Array {
  const code = [0xb9, ROUNDS, 0, 0, 0];
  for (let k = 0; k < PAIRS; k++) code.push(0x48, 0x83, 0xc0, 1, 0x74, 0);
  const back = -(6 * PAIRS + 3 + 6);
  code.push(0x48, 0xff, 0xc9, 0x0f, 0x85, back & 0xff, (back >> 8) & 0xff, 0xff, 0xff, 0x0f, 0x05);
  return Uint8Array.from(code);
}

/** Instructions of each region, on average, when the program ran at CODE + `above`. */
function regionSize(above: bigint): number {
  const machine = new TestMachine(20);
  const { view } = machine.memory;
  machine.load(longLoop(), new Array<bigint>(16).fill(0n), 2);
  // The same tables for the upper half: slot 272 of the root as slot 0.
  const root = machine.memory.at(view.getUint32(machine.cpu + STATE.kernelRoot, true));
  view.setBigUint64(root + 8 * 272, view.getBigUint64(root, true), true);
  for (let k = 0; k < 3; k++) {
    view.setBigUint64(machine.cpu + STATE.rip, BigInt(CODE) + above, true);
    view.setBigUint64(machine.cpu + 8 * GPR.rax, 0n, true);
    assert.equal(
      machine.run(() => 50),
      Exit.Syscall,
    );
    assert.equal(machine.gpr(GPR.rax), BigInt(PAIRS * ROUNDS));
  }
  const { regions, regionInstructions } = machine.engine.statistics;
  assert.ok(regions > 0);
  return regionInstructions / regions;
}

test('a long loop of a program is several regions, one of a kernel is one', () => {
  assert.ok(regionSize(0n) <= 160, `${regionSize(0n)} instructions`);
  assert.ok(regionSize(0xffff_8800_0000_0000n) > 2 * PAIRS, `${regionSize(0xffff_8800_0000_0000n)} instructions`);
});
