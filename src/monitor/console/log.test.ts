import assert from 'node:assert/strict';
import { closeSync, existsSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, test } from 'node:test';
import { ConsoleLog, StandardErrorLog } from './log.ts';

const dir = mkdtempSync(path.join(os.tmpdir(), 'domus-log-'));
after(() => rmSync(dir, { recursive: true, force: true }));

const text = (n: number) => new TextEncoder().encode(`${n}`.repeat(10));

test('a console log that is long begins anew; three old ones are kept, the latest as .1', () => {
  const file = path.join(dir, 'console.log');
  const log = new ConsoleLog(file, assert.fail, 25);
  for (let n = 0; n < 12; n++) log.write(text(n % 10));
  log.close();
  const read = (name: string) => readFileSync(name, 'latin1');
  assert.equal(read(file), `${'0'.repeat(10)}${'1'.repeat(10)}`);
  assert.equal(read(`${file}.1`), `${'8'.repeat(10)}${'9'.repeat(10)}`);
  assert.equal(read(`${file}.3`), `${'4'.repeat(10)}${'5'.repeat(10)}`);
  assert.ok(!existsSync(`${file}.4`));
});

test('a log file that was there already counts, and one piece longer than the limit is written whole', () => {
  const file = path.join(dir, 'again.log');
  new ConsoleLog(file, assert.fail, 25).write(text(1));
  const log = new ConsoleLog(file, assert.fail, 25);
  log.write(new Uint8Array(100).fill(120));
  log.close();
  assert.equal(readFileSync(file).length, 100);
  assert.equal(readFileSync(`${file}.1`, 'latin1'), '1111111111');
});

test('standard error is kept below a size, the lines before are in FILE.1, and nothing is written into a hole', () => {
  const file = path.join(dir, 'monitor.log');
  const fd = openSync(file, 'a', 0o600);
  const log = new StandardErrorLog(file, 100, fd);
  const lines = Array.from({ length: 25 }, (_, i) => `line ${String(i).padStart(3, '0')}\n`);
  for (const line of lines) {
    log.shorten();
    writeSync(fd, line);
  }
  closeSync(fd);
  const [old, now] = [readFileSync(`${file}.1`, 'latin1'), readFileSync(file, 'latin1')];
  assert.ok(old.length <= 110 && now.length <= 110);
  assert.ok(lines.join('').endsWith(old + now));
  assert.ok(!now.includes('\0'));
});

test('a standard error that is some other file is left alone', () => {
  const file = path.join(dir, 'other.log');
  const fd = openSync(path.join(dir, 'real.log'), 'a', 0o600);
  writeSync(fd, 'x'.repeat(200));
  const log = new StandardErrorLog(file, 100, fd);
  log.shorten();
  log.moveTo(path.join(dir, 'moved.log'));
  closeSync(fd);
  assert.equal(readFileSync(path.join(dir, 'real.log')).length, 200);
  assert.ok(!existsSync(`${file}.1`));
  assert.ok(!existsSync(path.join(dir, 'moved.log')));
});

test('a log goes on under another name with its older files, before what an earlier domain left there', () => {
  const [from, to] = [path.join(dir, 'from.log'), path.join(dir, 'to.log')];
  for (const age of ['', '.1', '.2', '.3']) writeFileSync(to + age, `theirs${age}`);
  const log = new ConsoleLog(from, assert.fail, 10);
  for (let n = 1; n <= 2; n++) log.write(text(n));
  log.moveTo(to);
  log.moveTo(to);
  log.write(text(3));
  log.close();
  const kept = ['', '.1', '.2', '.3', '.4'].map((age) => existsSync(to + age) && readFileSync(to + age, 'latin1'));
  assert.deepEqual(kept, ['3333333333', '2222222222', '1111111111', 'theirs', false]);
  assert.deepEqual([existsSync(from), existsSync(`${from}.1`)], [false, false]);
});
