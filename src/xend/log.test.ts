import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, test } from 'node:test';
import { XendLog } from './log.ts';

const dir = mkdtempSync(path.join(os.tmpdir(), 'domus-'));
after(() => rmSync(dir, { recursive: true, force: true }));
const fileOf = (name: string) => path.join(dir, name);

test("text lines are the original's, and what goes on over several lines is indented", () => {
  const log = new XendLog(fileOf('text'));
  log.write('WARNING', 'store', 'one\ntwo');
  assert.match(log.text(), /^\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d xend\] WARNING \(store\) one\n {4}two\n$/);
  assert.equal(statSync(log.file).mode & 0o777, 0o600);
});

test('JSON lines have one object each, whatever is in the text', () => {
  const log = new XendLog(fileOf('json'), { format: 'json' });
  log.write('INFO', 'xend', 'a "quoted"\nname \u0000');
  const lines = log.text().split('\n');
  assert.equal(lines.length, 2);
  const { time, ...rest } = JSON.parse(lines[0]!) as Record<string, unknown>;
  assert.ok(!Number.isNaN(Date.parse(String(time))));
  assert.deepEqual(rest, { level: 'INFO', where: 'xend', pid: process.pid, text: 'a "quoted"\nname \u0000' });
});

test('what is below the level is counted and not written', () => {
  const log = new XendLog(fileOf('level'), { level: 'WARNING' });
  for (const level of ['DEBUG', 'INFO', 'WARNING', 'ERROR'] as const) log.write(level, 'a', level);
  assert.deepEqual(log.text().match(/(?<= )[A-Z]+$/gm), ['WARNING', 'ERROR']);
  assert.deepEqual(log.counts, { DEBUG: 1, INFO: 1, WARNING: 1, ERROR: 1 });
});

test('a file of a mebibyte is followed by a new one; five old ones are kept', () => {
  const log = new XendLog(fileOf('long'));
  const line = 'x'.repeat(300_000);
  for (let n = 0; n < 30; n++) log.write('INFO', 'a', `${n} ${line}`);
  const files = readdirSync(dir).filter((name) => name.startsWith('long'));
  assert.deepEqual(files.sort(), ['long', 'long.1', 'long.2', 'long.3', 'long.4', 'long.5']);
  for (const name of files) assert.ok(statSync(fileOf(name)).size <= 1 << 20, name);
  assert.match(readFileSync(fileOf('long'), 'utf8'), /\(a\) 29 x/);
});

test('a log that cannot be written costs nothing but its lines', () => {
  const log = new XendLog(path.join(dir, 'no', 'such', 'folder'));
  log.write('ERROR', 'a', 'lost');
  assert.ok(!existsSync(log.file));
  assert.equal(log.text(), '');
});
