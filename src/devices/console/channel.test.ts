import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as later } from 'node:timers/promises';
import { ConsoleRing } from '../../abi/rings.ts';
import { DOMID, TestGuest } from '../blk/blk-for-tests.ts';
import { Channel } from './channel.ts';

const BACK = `/local/domain/0/backend/console/${DOMID}/1`;
const FRONT = `/local/domain/${DOMID}/device/console/1`;

async function setUp() {
  const guest = new TestGuest((run) => setImmediate(run));
  await guest.client.transaction(async (view) => {
    await view.writeAll(BACK, { frontend: FRONT, 'frontend-id': DOMID, online: 1, state: 1 });
    await view.writeAll(FRONT, { backend: BACK, 'backend-id': 0 });
  });
  const told = { text: '', connected: [] as boolean[], ready: 0, log: [] as string[] };
  const channel = new Channel({
    store: guest.client,
    guest: guest.pages,
    events: guest.backends,
    back: BACK,
    name: 'test',
    output: (bytes) => (told.text += String.fromCharCode(...bytes)),
    inputReady: () => told.ready++,
    changed: (connected) => void told.connected.push(connected),
    log: (_, text) => void told.log.push(text),
  });
  await channel.start();
  const backIs = (state: number) => guest.client.waitFor(`${BACK}/state`, (value) => value === `${state}`).value;
  /** As Linux's hvc driver connects: a page of zeros, granted, and a port. */
  const connect = async () => {
    const frame = guest.newFrame();
    guest.memory.frame(frame).fill(0);
    const gref = guest.grant(frame);
    const port = guest.events.allocUnbound(0) as number;
    await guest.client.transaction(async (view) => view.writeAll(FRONT, { 'ring-ref': gref, port, state: 3 }));
    await backIs(4);
    await guest.client.write(`${FRONT}/state`, '4');
    return { frame, gref, port, view: new DataView(guest.memory.buffer, guest.memory.at(frame), 4096) };
  };
  return { ...told, told, guest, channel, backIs, connect };
}

test('a guest sees the channel when it is plugged in, not before, and once only', async () => {
  const { guest, channel } = await setUp();
  assert.equal(await guest.client.read(`${FRONT}/state`), undefined);
  await channel.plug();
  assert.equal(await guest.client.read(`${FRONT}/state`), '1');
  await guest.client.write(`${FRONT}/state`, '4');
  await channel.plug();
  assert.equal(await guest.client.read(`${FRONT}/state`), '4', 'a connected one is left alone');
  await channel.close();
});

test('bytes go both ways while the guest is connected, and nowhere otherwise', async () => {
  const { guest, channel, told, connect, backIs } = await setUp();
  assert.equal(channel.input(new Uint8Array(5)), 0);
  await channel.plug();
  const { frame, gref, port, view } = await connect();
  assert.deepEqual(told.connected, [true]);
  const bytes = guest.memory.frame(frame);
  bytes.set(new TextEncoder().encode('hello'), 0x400);
  ConsoleRing.out_prod.set(view, 0, 5);
  guest.events.send(port);
  while (told.text !== 'hello') await later();
  assert.equal(channel.input(new TextEncoder().encode('answer')), 6);
  assert.equal(ConsoleRing.in_prod.get(view, 0), 6);
  assert.equal(new TextDecoder().decode(bytes.slice(0, 6)), 'answer');
  await guest.client.write(`${FRONT}/state`, '6');
  await backIs(6);
  assert.deepEqual(told.connected, [true, false]);
  assert.equal(guest.grantIsFree(gref), true);
  assert.equal(channel.input(new Uint8Array(5)), 0);
  await guest.client.write(`${FRONT}/state`, '1');
  await backIs(2);
  await connect();
  assert.deepEqual(told.connected, [true, false, true]);
  await channel.close();
});

test('keys that make no sense are told once, and the guest is not connected', async () => {
  const wrong: Record<string, string | number>[] = [
    { port: 1 },
    { 'ring-ref': 'x', port: 1 },
    { 'ring-ref': 8 },
    { 'ring-ref': 999, port: 1 },
  ];
  for (const keys of wrong) {
    const { guest, channel, told, backIs } = await setUp();
    await channel.plug();
    await backIs(2);
    await guest.client.transaction(async (view) => view.writeAll(FRONT, { ...keys, state: 3 }));
    await backIs(5);
    assert.deepEqual(told.connected, []);
    assert.equal(told.log.length, 1, JSON.stringify(keys));
    await channel.close();
  }
});
