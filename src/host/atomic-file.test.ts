import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, test } from 'node:test';
import { writeAtomically, writeMeanwhile } from './atomic-file.ts';

const folder = mkdtempSync(path.join(os.tmpdir(), 'domus-'));
after(() => rmSync(folder, { recursive: true, force: true }));

test('the newest content is there, for its owner alone, and nothing beside it', async () => {
  const file = path.join(folder, 'record');
  writeAtomically(file, 'first');
  await writeMeanwhile(file, Uint8Array.of(0x63));
  assert.equal(readFileSync(file, 'utf8'), 'c');
  writeAtomically(file, Uint8Array.of(0x61, 0x62));
  assert.equal(readFileSync(file, 'utf8'), 'ab');
  assert.equal(statSync(file).mode & 0o777, 0o600);
  assert.deepEqual(readdirSync(folder), ['record']);
});

test('what cannot be put into its place leaves that as it was, and no draft', async () => {
  const taken = path.join(folder, 'taken');
  mkdirSync(taken);
  assert.throws(() => writeAtomically(taken, 'text'), { code: 'EISDIR' });
  await assert.rejects(writeMeanwhile(taken, Uint8Array.of(1)), { code: 'EISDIR' });
  assert.deepEqual(readdirSync(folder), ['record', 'taken']);
});
