import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, test } from 'node:test';
import {
  claimPidFile,
  hasEnded,
  identify,
  isAlive,
  readPidFile,
  signal,
  startTimeOf,
  waitGone,
} from './process-identity.ts';

const dir = mkdtempSync(path.join(os.tmpdir(), 'domus-pid-'));
after(() => rmSync(dir, { recursive: true, force: true }));

test('the start time is found behind a command name with blanks and parentheses', () => {
  const fields = Array.from({ length: 40 }, (_, i) => String(i + 3));
  assert.equal(startTimeOf(`77 (a ) (b) ${fields.join(' ')}`), '22');
});

test('a process whose first thread has ended and another not is still there, with its files and locks', () => {
  const stat = (state: string, threads: number) => `77 (a ) (b) ${state} ${'0 '.repeat(16)}${threads} 0 22 0`;
  assert.deepEqual([stat('S', 1), stat('Z', 2), stat('Z', 1), stat('Z', 0)].map(hasEnded), [false, false, true, true]);
});

test('a process is known by its number and its start time', async () => {
  const child = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)']);
  await once(child, 'spawn');
  const who = identify(child.pid!);
  assert.ok(isAlive(who));
  if (who.startTime !== '') assert.ok(!isAlive({ ...who, startTime: '1' }), 'another process with the same number');
  assert.ok(signal(who, 'SIGKILL'));
  await once(child, 'exit');
  assert.ok(await waitGone(who, 5000));
  assert.ok(!signal(who, 'SIGTERM'));
});

test('a pid file is claimed once, and taken over from a dead owner or from rubbish', () => {
  const file = path.join(dir, 'x.pid');
  assert.equal(claimPidFile(file), undefined);
  assert.deepEqual(readPidFile(file), identify(process.pid));
  assert.equal(claimPidFile(file)?.pid, process.pid);
  for (const old of [`${process.pid} 1\n`, '999999999 5\n', 'rubbish', '']) {
    writeFileSync(file, old);
    assert.equal(claimPidFile(file), undefined, JSON.stringify(old));
    assert.match(readFileSync(file, 'latin1'), new RegExp(`^${process.pid} `));
  }
  rmSync(file);
  assert.ok(!existsSync(file));
});
