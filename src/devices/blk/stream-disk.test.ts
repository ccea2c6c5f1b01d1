import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SECTOR_SIZE } from './block-store.ts';
import { InputDisk, OutputDisk, STREAM_START } from './stream-disk.ts';

const FIRST = STREAM_START / SECTOR_SIZE;
const turn = () => new Promise<void>((resolve) => setImmediate(resolve));
const text = (value: string, sectors = 1) =>
  new Uint8Array(sectors * SECTOR_SIZE).map((_, i) => value.charCodeAt(i % value.length));
/** Parts of a page each, as a ring has them. */
const space = (...sectors: number[]) => sectors.map((count) => new Uint8Array(count * SECTOR_SIZE).fill(0xee));

test('what is fed is read, in parts of any size, and zeros behind its end', async () => {
  const disk = new InputDisk(() => {});
  const [one, two] = [space(1, 2), space(1)];
  const asked = [disk.read(FIRST, one), disk.read(FIRST + 3, two)];
  const bytes = text('abcde', 3);
  for (const piece of [bytes.subarray(0, 700), bytes.subarray(700), Uint8Array.of(7, 8)]) assert.ok(disk.feed(piece));
  disk.end();
  assert.deepEqual(await Promise.all(asked), ['okay', 'okay']);
  assert.deepEqual(Buffer.concat(one), Buffer.from(bytes));
  assert.deepEqual([...two[0]!.subarray(0, 4)], [7, 8, 0, 0]);
  const [behind] = space(1);
  assert.equal(await disk.read(FIRST + 4, [behind!]), 'okay');
  assert.ok(behind!.every((byte) => byte === 0));
});

test('requests that overtake each other get what is at their places; a place that was passed or is taken is an error', async () => {
  const disk = new InputDisk(() => {});
  const [a, b, c] = space(1, 1, 1);
  const asked = [disk.read(FIRST + 2, [c!]), disk.read(FIRST, [a!]), disk.read(FIRST + 1, [b!])];
  assert.equal(await disk.read(FIRST + 2, space(1)), 'error', 'another waits for it');
  assert.equal(await disk.read(FIRST, space(1)), 'error', 'another reads it');
  for (const word of ['one', 'two', 'six']) disk.feed(text(word));
  assert.deepEqual(await Promise.all(asked), ['okay', 'okay', 'okay']);
  assert.deepEqual([a, b, c], [text('one'), text('two'), text('six')]);
  assert.equal(await disk.read(FIRST, space(1)), 'error');
});

test('who looks at its beginning or its end sees zeros, and takes nothing away', async () => {
  const disk = new InputDisk(() => {});
  disk.feed(text('x'));
  for (const sector of [0, FIRST - 8, disk.sectors - 8]) {
    const [page] = space(8);
    assert.equal(await disk.read(sector, [page!]), 'okay');
    assert.ok(page!.every((byte) => byte === 0));
  }
  const [first] = space(1);
  assert.equal(await disk.read(FIRST, [first!]), 'okay');
  assert.deepEqual(first, text('x'));
});

test('who feeds is told when it is enough, and when there is room again', async () => {
  let drained = 0;
  const disk = new InputDisk(() => drained++);
  const piece = new Uint8Array(256 << 10);
  let fed = 1;
  while (disk.feed(piece)) fed++;
  assert.equal(fed, 16);
  assert.equal(await disk.read(FIRST, space(8)), 'okay');
  assert.equal(drained, 1);
  assert.equal(await disk.read(FIRST + 8, space(8)), 'okay');
  assert.equal(drained, 1);
});

test('one that fails fails what waits and what comes', async () => {
  const disk = new InputDisk(() => {});
  const asked = [disk.read(FIRST, space(1)), disk.read(FIRST + 1, space(1))];
  await turn();
  disk.fail();
  assert.deepEqual(await Promise.all(asked), ['error', 'error']);
  assert.equal(await disk.read(FIRST, space(1)), 'error');
  assert.equal(await disk.flush(), 'error');
  assert.equal(await disk.write(), 'error');
});

test('what is written comes out in order, and waits for whoever takes it', async () => {
  const taken: string[] = [];
  let room: (() => void) | undefined;
  const disk = new OutputDisk((bytes) => {
    taken.push(String.fromCharCode(bytes[0]!, bytes[SECTOR_SIZE]!));
    return new Promise((resolve) => (room = resolve));
  });
  const done: string[] = [];
  const write = (name: string, sector: number, parts: Uint8Array[]) =>
    disk.write(sector, parts).then((status) => done.push(`${name} ${status}`));
  const late = write('late', FIRST + 2, [text('c'), text('d')]);
  const early = write('early', FIRST, [text('a'), text('b')]);
  await turn();
  assert.deepEqual([taken, done], [['ab', 'cd'], []]);
  room?.();
  await late;
  disk.fail();
  assert.equal(await disk.write(FIRST + 4, [text('e')]), 'error');
  assert.deepEqual(done, ['late okay']);
  void early;
});

test('one that is written cannot be written where nothing is to be, and reads as zeros', async () => {
  const disk = new OutputDisk(() => undefined);
  assert.equal(await disk.write(0, [text('a')]), 'error');
  assert.equal(await disk.write(FIRST, [text('a')]), 'okay');
  assert.equal(await disk.write(FIRST, [text('a')]), 'error', 'it was written already');
  const [page] = space(8);
  assert.equal(await disk.read(FIRST, [page!]), 'okay');
  assert.ok(page!.every((byte) => byte === 0));
  assert.equal(await disk.flush(), 'okay');
});
