import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type TarEntry, TarError, TarReader, tarEnd, tarHeader, tarPadding } from './tar.ts';

const entry = (name: string, more: Partial<TarEntry> = {}): TarEntry => ({
  name,
  kind: 'file',
  mode: 0o640,
  size: 0,
  mtime: 1_100_000_000,
  ...more,
});
const file = (name: string, text: string) =>
  Buffer.concat([tarHeader(entry(name, { size: text.length })), Buffer.from(text), tarPadding(text.length)]);

/** Everything that a reader tells, in pieces of `step` bytes. */
function read(archive: Buffer, step: number) {
  const found: (TarEntry & { text: string; complete: boolean })[] = [];
  const reader = new TarReader({
    entry: (one) => void found.push({ ...one, text: '', complete: false }),
    data: (bytes) => (found.at(-1)!.text += bytes.toString('latin1')),
    done: () => (found.at(-1)!.complete = true),
  });
  for (let at = 0; at < archive.length; at += step) reader.take(archive.subarray(at, at + step));
  return { found, complete: reader.complete };
}

const LONG = `${'folder/'.repeat(40)}file`;

test('what is written is read, in whatever pieces it comes', () => {
  const archive = Buffer.concat([
    tarHeader(entry('d/', { kind: 'folder', mode: 0o751 })),
    file('d/a', 'text of a'),
    file('d/empty', ''),
    file(LONG, 'x'.repeat(2000)),
    tarHeader(entry('d/link', { kind: 'symlink', target: `../${LONG}` })),
    tarEnd(),
  ]);
  assert.equal(archive.length % 512, 0);
  for (const step of [1, 100, 511, 512, 513, 100_000]) {
    const { found, complete } = read(archive, step);
    assert.equal(complete, true);
    assert.deepEqual(
      found.map(({ name, kind, mode, text, target }) => [name, kind, mode, text, target]),
      [
        ['d/', 'folder', 0o751, '', undefined],
        ['d/a', 'file', 0o640, 'text of a', undefined],
        ['d/empty', 'file', 0o640, '', undefined],
        [LONG, 'file', 0o640, 'x'.repeat(2000), undefined],
        ['d/link', 'symlink', 0o640, '', `../${LONG}`],
      ],
    );
    assert.ok(found.every((one) => one.complete && one.mtime === 1_100_000_000));
  }
});

test('an archive that is cut off is not complete', () => {
  const archive = Buffer.concat([file('a', 'text'), tarEnd()]);
  for (const length of [0, 100, 512, 514, 1024]) {
    assert.equal(read(archive.subarray(0, length), 512).complete, false, `${length} bytes`);
  }
});

test('what is no archive is refused, and a name without end as well', () => {
  assert.throws(() => read(Buffer.alloc(512, 'x'), 512), TarError);
  const damaged = file('a', 'text');
  damaged[3] = 0x7a;
  assert.throws(() => read(damaged, 512), /damaged/);
  const huge = tarHeader(entry('a', { size: 1 << 20 }));
  huge.write('L', 156);
  huge.write('        ', 148);
  huge.write(
    `${huge
      .reduce((sum, byte) => sum + byte, 0)
      .toString(8)
      .padStart(6, '0')}\0 `,
    148,
  );
  assert.throws(() => read(huge, 512), /name in the archive is too long/);
});
