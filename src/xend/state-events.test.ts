import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { MonitorStatus } from '../monitor/protocol.ts';
import { stateEvents } from './state-events.ts';

const status = (state: MonitorStatus['state'], more: Partial<MonitorStatus> = {}): MonitorStatus => ({
  protocol: 1,
  pid: 1,
  domid: 1,
  uuid: 'u',
  builds: 1,
  state,
  ...more,
});
const ran = { startedAtMs: 1 };

// biome-ignore format: a table
const CASES: readonly [story: string, before: MonitorStatus | undefined, after: MonitorStatus, types: string[]][] = [
  ['met while it runs',             undefined,                       status('running', ran),                      []],
  ['met after its end',             undefined,                       status('shutdown'),                          ['domain.exited']],
  ['built',                         status('building'),              status('paused'),                            []],
  ['runs for the first time',       status('paused'),                status('running', ran),                      ['domain.started']],
  ['asked how it is',               status('running', ran),          status('running', ran),                      []],
  ['paused',                        status('running', ran),          status('paused', ran),                       ['domain.paused']],
  ['goes on',                       status('paused', ran),           status('running', ran),                      ['domain.unpaused']],
  ['its guest ends',                status('running', ran),          status('shutdown', ran),                     ['domain.exited']],
  ['asked after its end',           status('shutdown', ran),         status('shutdown', ran),                     []],
  ['a new machine runs',            status('paused', { builds: 2 }), status('running', { builds: 2, ...ran }),    ['domain.restarted']],
  ['restarted and ended at once',   status('shutdown', ran),         status('shutdown', { builds: 2, ...ran }),   ['domain.exited']],
];
for (const [story, before, after, types] of CASES) {
  test(`a domain that is ${story}: ${types.join(', ') || 'no event'}`, () => {
    assert.deepEqual(
      stateEvents(before, after).map(({ type }) => type),
      types,
    );
  });
}

test('who types on the console is told when it changes, and only then', () => {
  const typed = (writer?: string) =>
    status('running', { ...ran, console: { attached: 2, bytesIn: 0, bytesOut: 0, writer } });
  assert.deepEqual(stateEvents(typed(), typed('ann')), [{ type: 'console.connected', data: { who: 'ann' } }]);
  assert.deepEqual(stateEvents(typed('ann'), typed('ann')), []);
  assert.deepEqual(stateEvents(typed('ann'), typed('bob')), [
    { type: 'console.disconnected', data: { who: 'ann' } },
    { type: 'console.connected', data: { who: 'bob' } },
  ]);
});

test('an end says why', () => {
  const exit = { kind: 'crash', report: ['it panicked'] } as const;
  assert.deepEqual(stateEvents(status('running', ran), status('shutdown', { exit })), [
    { type: 'domain.exited', data: { reason: 'crash', report: ['it panicked'] } },
  ]);
});
