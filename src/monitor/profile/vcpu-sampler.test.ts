import assert from 'node:assert/strict';
import { test } from 'node:test';
import { atTheirPlaces } from './vcpu-sampler.ts';

test('a region that was made elsewhere is called by the address that it has in this domain', () => {
  const functions = ['region 7f0000001000 ab', 'region ffffffff81000000 12345678', 'run', 'region 4 is none'];
  const places = new Map([[0xab, 0x5555_0000_2000n]]);
  assert.deepEqual(
    atTheirPlaces(
      functions.map((name) => ({ name, where: '', ms: 1 })),
      places,
    ).map(({ name }) => name),
    ['region 555500002000', 'region ffffffff81000000', 'run', 'region 4 is none'],
  );
});
