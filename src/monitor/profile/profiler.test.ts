import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Profiler } from './profiler.ts';

test('a profile of a vCPU that was paused meanwhile ends nevertheless, without what its thread cannot tell', async () => {
  const observed: boolean[] = [];
  const profiler = new Profiler(
    {
      isRunning: () => false,
      isPaused: () => true,
      look: () => assert.fail('there is nobody to look'),
      observe: (on) => observed.push(on),
      ram: new Uint8Array(4096),
    },
    600,
  );
  profiler.stop();
  const profile = await profiler.result;
  assert.deepEqual(observed, [true, false]);
  assert.deepEqual(profile.monitor, []);
});

test('a profile waits for what the vCPU thread tells', async () => {
  const profiler = new Profiler(
    { isRunning: () => false, isPaused: () => false, look: () => {}, observe: () => {}, ram: new Uint8Array(4096) },
    600,
  );
  profiler.stop();
  const listing = { blocks: 1, parts: [{ address: '0000000000001000', instructions: 2 }], guest: [], wasm: [] };
  const region = { address: '0000000000001000', root: 5, how: 'kept', instructions: 2, entries: 1 } as const;
  profiler.finish({
    guest: [0x10, 0, 0, 3],
    monitor: [{ name: 'run', where: '', ms: 2 }],
    engine: {},
    regions: [{ ...region, ...listing, executions: 7, moduleBytes: 0, ms: 1 }],
  });
  const { guest, monitor, regions } = await profiler.result;
  assert.deepEqual(guest, [{ address: '0000000000000010', kernel: true, samples: 3 }]);
  assert.equal(monitor[0]!.name, 'run');
  const { root: _, ...told } = region;
  assert.deepEqual(regions, [{ ...told, ...listing, executions: 7, moduleBytes: 0, ms: 1 }]);
});
