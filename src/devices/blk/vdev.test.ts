import assert from 'node:assert/strict';
import { test } from 'node:test';
import { classicNumber, guestDisk, parseDevice, placeOf, vdevOf } from './vdev.ts';

test('classic names have the numbers of the manual', () => {
  // biome-ignore format: a table
  const rows: [string, number][] = [
    ['sda1', 2049], ['sda2', 2050], ['sdb1', 2065], ['sdp15', 2303], ['sda', 2048], ['sdq', 65 * 256],
    ['hda', 768], ['hda1', 769], ['hdb', 832], ['hdc', 5632], ['hdd', 5696], ['hde', 8448], ['hdg', 8704],
    ['hdi', 14336], ['hdt', 23360], ['/dev/hda1', 769],
    ['xvda', 51712], ['xvda1', 51713], ['xvdb', 51728], ['xvdq', 268439552],
  ];
  for (const [name, number] of rows) assert.equal(classicNumber(name), number, name);
});

test('whatever the name, a guest sees an xvd with the same disk and partition', () => {
  // biome-ignore format: a table
  const rows: [string, number, string][] = [
    ['sda1', 51713, 'xvda1'],       ['hda1', 51713, 'xvda1'],      ['hdb', 51728, 'xvdb'],
    ['hdc2', 51746, 'xvdc2'],       ['xvdp15', 51967, 'xvdp15'],   ['xvdq', 268439552, 'xvdq'],
    ['hda16', 268435472, 'xvda16'], ['xvdaa', 268442112, 'xvdaa'], ['d0p1', 51713, 'xvda1'],
    ['d2', 51744, 'xvdc'],          ['801', 51713, 'xvda1'],       ['0x301', 51713, 'xvda1'],
    ['0xca10', 51728, 'xvdb'],
  ];
  for (const [name, vdev, guestName] of rows) {
    const { vdev: number, name: called } = guestDisk(name)!;
    assert.deepEqual([number, called], [vdev, guestName], name);
  }
});

test('a partition number that no disk of the family has is refused, not taken for the next disk', () => {
  for (const name of [
    'sda16',
    'hda64',
    'xvda256',
    'sda01',
    'sd',
    'sdA',
    'sda1x',
    'fd0',
    '',
    'hdu',
    'd0p256',
    '2049',
    '0x',
  ]) {
    assert.equal(parseDevice(name), undefined, name);
  }
});

test('the number of every xvd leads back to its disk and partition', () => {
  for (const disk of [0, 1, 15, 16, 25, 26, 701, 702, 2 ** 20 - 1]) {
    for (const partition of [0, 1, 15, 16, 255]) {
      const place = { disk, partition };
      assert.deepEqual(placeOf(vdevOf(place)), place);
    }
  }
});

test('letters go on after z as Linux counts them', () => {
  assert.deepEqual(
    ['d25', 'd26', 'd51', 'd52', 'd701', 'd702'].map((name) => guestDisk(name)!.name),
    ['xvdz', 'xvdaa', 'xvdaz', 'xvdba', 'xvdzz', 'xvdaaa'],
  );
});
