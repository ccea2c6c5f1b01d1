import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CpuCap, SLICE_NS } from './cpu-cap.ts';

/** A guest that computes whenever it may, on a host whose threads overrun their turns by `overrun` ns. */
function shareOf(percent: number, overrun: number, seconds = 10): { share: number; turns: number } {
  let [now, used, turns] = [1e9, 5e8, 0];
  const [start, before] = [now, used];
  const cap = new CpuCap(percent, now, used);
  while (now < start + seconds * 1e9) {
    const turn = cap.turn(now, used);
    if ('restUntil' in turn) now = turn.restUntil;
    else {
      const ran = turn.runUntil + overrun - now;
      now += ran;
      used += ran;
      turns++;
    }
  }
  return { share: (100 * (used - before)) / (now - start), turns };
}

test('a busy domain stays at its cap, however late its turns end', () => {
  for (const percent of [1, 10, 35, 50, 90]) {
    for (const overrun of [0, 500_000, 4_000_000]) {
      const { share } = shareOf(percent, overrun);
      assert.ok(share <= percent * 1.02 && share > percent * 0.9, `${percent} % with ${overrun} ns: ${share} %`);
    }
  }
});

test('turns are some milliseconds long: a cap does not make the thread come and go all the time', () => {
  assert.ok(shareOf(50, 0).turns < 1000, String(shareOf(50, 0).turns));
});

test('what was not used is saved up for one slice, not for ever', () => {
  const cap = new CpuCap(20, 0, 0);
  assert.deepEqual(cap.turn(3600e9, 0), { runUntil: 3600e9 + SLICE_NS / 4 });
});

test('CPU time of the domain’s other threads counts: a long compilation is paid back', () => {
  const cap = new CpuCap(50, 0, 0);
  const turn = cap.turn(100e6, 200e6);
  assert.ok('restUntil' in turn && turn.restUntil > 350e6, JSON.stringify(turn));
});
