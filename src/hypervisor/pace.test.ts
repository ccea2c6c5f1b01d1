import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Exit } from '../x86/exits.ts';
import { STATE } from '../x86/state.ts';
import { runVcpu } from './run.ts';
import type { Vcpu } from './vcpu.ts';
import { HANDLER, hypercallStep, type TestDomain, testDomain } from './vcpu-for-tests.ts';

const MS = 1_000_000;

/** A domain whose guest wants to hear of its timer. */
function timerDomain(): TestDomain {
  const test = testDomain();
  test.vcpu.callbacks.event.set(HANDLER, true);
  test.domain.events.bindVirq(0, 0);
  test.vcpu.upcallMask = 0;
  return test;
}

/** The guest runs on to the end of its slice, in code of which a branch takes so many nanoseconds. */
const busy =
  ({ time, vcpu }: TestDomain, branchNs: number) =>
  (): Exit => {
    time.now += vcpu.u32(STATE.budget) * branchNs;
    vcpu.setU32(STATE.budget, 0);
    return Exit.Slice;
  };

/** The handler has done what it had to do. */
function leaveHandler(vcpu: Vcpu): void {
  vcpu.rip = HANDLER - 0x1000n;
  vcpu.upcallMask = 0;
  vcpu.memory.u8.fill(0, vcpu.memory.at(512), vcpu.memory.at(512) + 0xa00);
}

for (const [code, branchNs] of [
  ['in a translated loop', 4],
  ['in new code', 120],
  ['where branches are rare', 2000],
] as const) {
  test(`a timer comes at most a tenth of a millisecond late to a guest that is busy ${code}`, () => {
    const domain = timerDomain();
    const { vcpu, engine, time } = domain;
    const lates: number[] = [];
    let due = 0;
    const arm = (): void => {
      due = time.now + 1.3 * MS;
      vcpu.timers.setSingleshot(due, time.now);
    };
    const run = busy(domain, branchNs);
    for (let slices = 0; slices < 500; slices++) {
      engine.script.push((v) => {
        if (v.rip === HANDLER) {
          lates.push(time.now - due);
          leaveHandler(v);
          arm();
        }
        return run();
      });
    }
    arm();
    runVcpu(vcpu);
    assert.ok(lates.length > 20);
    // What code is like shows in the first slices.
    const worst = Math.max(...lates.slice(2));
    assert.ok(worst <= 0.1 * MS, `${worst} ns`);
  });
}

test('code that becomes thirty times as slow has one long slice, not several', () => {
  const domain = timerDomain();
  const { vcpu, engine, time } = domain;
  const ends: number[] = [];
  for (let slices = 0; slices < 60; slices++) {
    engine.script.push(() => {
      const exit = busy(domain, slices < 40 ? 4 : 120)();
      ends.push(time.now);
      return exit;
    });
  }
  runVcpu(vcpu);
  const lengths = ends.map((end, k) => end - (ends[k - 1] ?? 0));
  assert.ok(lengths[40]! > MS);
  assert.ok(Math.max(...lengths.slice(41)) <= MS);
});

test('a timer that is armed in the middle of a slice comes in time', () => {
  const domain = timerDomain();
  const { vcpu, engine, time } = domain;
  const run = busy(domain, 100);
  for (let slices = 0; slices < 5; slices++) engine.script.push(run);
  let late: number | undefined;
  let due = 0;
  engine.script.push((v) => {
    due = time.now + 0.1 * MS;
    return hypercallStep(15, due)(v);
  });
  for (let slices = 0; slices < 5; slices++) {
    engine.script.push((v) => {
      if (v.rip === HANDLER) late ??= time.now - due;
      return run();
    });
  }
  runVcpu(vcpu);
  assert.ok(late !== undefined && late <= 0.1 * MS, `${late} ns`);
});

test('what the engine has put off waits for an interrupt that is due soon', () => {
  const domain = timerDomain();
  const { vcpu, engine, time } = domain;
  engine.sliceMost = 1000;
  const seen: string[] = [];
  engine.betweenSlices = () => void seen.push(`put off, ${time.now / MS} ms`);
  const run = busy(domain, 100);
  vcpu.timers.setSingleshot(0.3 * MS, time.now);
  for (let slices = 0; slices < 20; slices++) {
    engine.script.push((v) => {
      if (v.rip === HANDLER) {
        seen.push('interrupt');
        leaveHandler(v);
      }
      return run();
    });
  }
  runVcpu(vcpu);
  assert.equal(seen[0], 'interrupt', seen[0]);
  assert.ok(seen.length > 2);
});

test('what the engine has put off waits for an interrupt that is due, but not for ever', () => {
  const domain = timerDomain();
  const { vcpu, engine, time } = domain;
  engine.sliceMost = 400;
  const seen: string[] = [];
  engine.betweenSlices = () => void seen.push('put off');
  const run = busy(domain, 100);
  vcpu.timers.setSingleshot(0.03 * MS, time.now);
  for (let slices = 0; slices < 12; slices++) {
    engine.script.push((v) => {
      seen.push(v.rip === HANDLER ? 'interrupt' : 'slice');
      if (v.rip === HANDLER) leaveHandler(v);
      // Something is due at the end of each slice.
      vcpu.timers.setSingleshot(time.now + 1, time.now);
      return run();
    });
  }
  runVcpu(vcpu);
  assert.deepEqual(seen.slice(0, 2), ['slice', 'interrupt']);
  assert.ok(seen.includes('put off'));
});
