import assert from 'node:assert/strict';
import { appendFileSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, test } from 'node:test';
import { EVENTS_KEPT, EventLog } from './events.ts';

const dir = mkdtempSync(path.join(os.tmpdir(), 'domus-'));
after(() => rmSync(dir, { recursive: true, force: true }));
const web = { domid: 3, uuid: 'u', name: 'web', more: 'than an event tells' };

test('events are numbered, kept and told', () => {
  const log = new EventLog(undefined, () => 7);
  const told: number[] = [];
  const stop = log.listen(({ seq }) => told.push(seq));
  log.emit('xend.started');
  const event = log.emit('domain.paused', web, { by: 'me' });
  stop();
  log.emit('domain.unpaused', web);
  assert.deepEqual(told, [1, 2]);
  assert.deepEqual(event, {
    seq: 2,
    atMs: 7,
    type: 'domain.paused',
    domain: { domid: 3, uuid: 'u', name: 'web' },
    data: { by: 'me' },
  });
  assert.deepEqual(
    log.after(1).events.map(({ seq }) => seq),
    [2, 3],
  );
  assert.deepEqual(log.after(3), { events: [], complete: true });
});

test('whoever was away too long, or counts from another life, is told so', () => {
  const log = new EventLog(undefined);
  for (let n = 0; n < EVENTS_KEPT + 10; n++) log.emit('domain.paused', web);
  assert.equal(log.after(9).complete, false);
  assert.equal(log.after(9).events.length, EVENTS_KEPT);
  assert.equal(log.after(10).complete, true);
  assert.equal(log.after(999_999).complete, false);
});

test('numbers and events go on after a restart, also behind half a line', () => {
  const file = path.join(dir, 'events.jsonl');
  const first = new EventLog(file);
  first.emit('xend.started');
  first.emit('domain.paused', web);
  appendFileSync(file, '{"seq":3,"ty');
  const second = new EventLog(file);
  assert.equal(second.last, 2);
  assert.equal(second.emit('domain.unpaused', web).seq, 3);
  assert.deepEqual(
    new EventLog(file).after(0).events.map(({ seq, type }) => `${seq} ${type}`),
    ['1 xend.started', '2 domain.paused', '3 domain.unpaused'],
  );
});

test('the file stays within twice what is kept', () => {
  const file = path.join(dir, 'many.jsonl');
  const log = new EventLog(file);
  for (let n = 0; n < 3 * EVENTS_KEPT; n++) log.emit('domain.paused', web);
  const lines = readFileSync(file, 'utf8').split('\n').length - 1;
  assert.ok(lines <= 2 * EVENTS_KEPT, `${lines} lines`);
  assert.equal(new EventLog(file).last, 3 * EVENTS_KEPT);
});

test('waiting ends with the next event, with the time, or when the waiter leaves', async () => {
  const log = new EventLog(undefined);
  const next = log.wait(0, 60_000);
  log.emit('xend.started');
  await next;
  await log.wait(0, 60_000);
  await log.wait(1, 0);
  const leaving = new AbortController();
  const left = log.wait(1, 60_000, leaving.signal);
  leaving.abort();
  await left;
});
