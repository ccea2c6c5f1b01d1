import assert from 'node:assert/strict';
import { test } from 'node:test';
import { GuestMemory, planLayout } from '../../hypervisor/memory.ts';
import { LINK_ENTRY_SHIFT, STEP, TRAIL, TRAIL_LEFT, TRAIL_STEP_BYTES } from '../../translate/layout.ts';
import { type Path, Trail } from './trail.ts';

const STEPS = 640;
const OPTIONS = { least: 1, most: 4, steps: STEPS };

const PROGRAM = 0n;
const KERNEL = 0xffff_ffff_8000_0000n;

/** The path that is found when control goes round and round through regions: a letter each, those after a space come there by RET. */
function pathOf(round: string, base = PROGRAM): Path | undefined {
  const layout = planLayout(16, 1);
  const memory = new GuestMemory(new SharedArrayBuffer(layout.bytes), layout);
  const cpu = memory.vcpuBase(0);
  const trail = new Trail(memory, cpu, OPTIONS);
  assert.equal(trail.sliceEnded(), true);
  assert.equal(trail.isTaken, false);
  for (let n = 0, at = 0; n < STEPS; n++, at++) {
    const returned = round[at % round.length] === ' ';
    if (returned) at++;
    const slot = round.charCodeAt(at % round.length);
    // What was first is written last.
    const step = cpu + TRAIL + (STEPS - 1 - n) * TRAIL_STEP_BYTES;
    memory.view.setUint32(step + STEP.link, slot | (1 << LINK_ENTRY_SHIFT), true);
    memory.view.setBigUint64(step + STEP.target, base + BigInt(0x1000 * slot), true);
    memory.view.setUint32(step + STEP.how, returned ? STEP.byOthers : STEP.byJump, true);
  }
  memory.view.setUint32(cpu + TRAIL_LEFT, 0, true);
  assert.equal(trail.isTaken, true);
  assert.equal(trail.take(), undefined);
  assert.equal(trail.isTaken, true);
  return trail.take();
}

const letters = ({ slots }: Path): string =>
  [...slots]
    .map((slot) => String.fromCharCode(slot))
    .sort()
    .join('');

test('regions that control goes through one after the other are one path, which begins where it is come to by RET', () => {
  const path = pathOf(' abcd')!;
  assert.equal(letters(path), 'abcd');
  assert.equal(path.head.va, BigInt(0x1000 * 'a'.charCodeAt(0)));
  assert.deepEqual([...path.targets].sort(), [...'abcd'].map((letter) => BigInt(0x1000 * letter.charCodeAt(0))).sort());
});

test('what mostly comes from elsewhere is no member of a path, and what comes from several members is', () => {
  // x: once from b, three times by RET. y: twice from b, once from c.
  const path = pathOf(' aby abcy aby abx x x x')!;
  assert.equal(letters(path), 'abcy');
});

test('a path of a program is worth joining when most steps are on it, one of a kernel also when few are', () => {
  const round = (others: number): string => ` abcdef${' x'.repeat(others)}`;
  assert.equal(letters(pathOf(round(4))!), 'abcdef');
  assert.equal(pathOf(round(12)), undefined);
  assert.equal(letters(pathOf(round(12), KERNEL)!), 'abcdef');
});

test('a region that is seldom come to is no member; one that only returns lead to begins no path', () => {
  const path = pathOf(`${' abc'.repeat(39)} abr`)!;
  assert.equal(letters(path), 'abc');
  assert.equal(pathOf(' a b c d'), undefined);
});
