import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ConfigError } from './config-error.ts';
import { parseCpus, printCpus } from './cpus.ts';

test('CPU lists: ranges, exceptions, all', () => {
  const four = [0, 1, 2, 3];
  // biome-ignore format: a table
  const rows: [string, number[]][] = [
    ['0', [0]], ['0-2', [0, 1, 2]], ['3,1', [1, 3]], ['0-3,^1', [0, 2, 3]], ['^0', [1, 2, 3]], ['all', []], ['-1', []],
  ];
  for (const [text, cpus] of rows) assert.deepEqual(parseCpus(text, four), cpus, text);
  for (const text of ['', 'x', '1-', '3-1', '0,^0', '99999', '1,,2'])
    assert.throws(() => parseCpus(text, four), ConfigError, text);
});

test('they are printed as ranges', () => {
  assert.equal(printCpus([0, 1, 2, 5, 7, 8]), '0-2,5,7-8');
  assert.equal(printCpus([]), 'any cpu');
});
