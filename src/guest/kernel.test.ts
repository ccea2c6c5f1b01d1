import assert from 'node:assert/strict';
import {
  mkdtempSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { CorruptError } from './corrupt.ts';
import { loadKernel } from './kernel.ts';
import { keepNewest, openKernel } from './kernel-cache.ts';
import { KernelError } from './kernel-error.ts';
import { unpackLz4Legacy } from './lz4.ts';
import { unpackLzma } from './lzma.ts';
import { PACKED } from './packed-samples.ts';
import { sampleElf } from './sample-elf.ts';
import { unpackXz } from './xz.ts';

const elf = sampleElf();
const LIMIT = 1 << 20;
const packed = (name: keyof typeof PACKED): Buffer => Buffer.from(PACKED[name], 'base64');
const u32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
};

/** A bzImage of one setup sector and the smallest header that tells where the payload is. */
function bzImage(payload: Uint8Array, change: (image: Buffer) => void = () => {}): Buffer {
  const image = Buffer.concat([Buffer.alloc(1024 + 64), payload]);
  image[0x1f1] = 1;
  image.write('HdrS', 0x202, 'latin1');
  image.writeUInt16LE(0x020f, 0x206);
  image.writeUInt32LE(64, 0x248);
  image.writeUInt32LE(payload.length, 0x24c);
  change(image);
  return image;
}
const PAYLOAD = 1024 + 64;
const withSize = (stream: Uint8Array, size = elf.length): Buffer => Buffer.concat([stream, u32(size)]);

const PAYLOADS: [format: string, payload: Uint8Array][] = [
  ['gzip', gzipSync(elf)],
  ['zstd', withSize(zstdCompressSync(elf))],
  ['xz with the x86 filter', withSize(packed('xz'))],
  ['xz with CRC-64', withSize(packed('xzCrc64'))],
  ['xz of several blocks with SHA-256', withSize(packed('xzSha256'))],
  ['LZMA', withSize(packed('lzma'))],
  ['bzip2', withSize(packed('bzip2'))],
  ['LZ4', withSize(packed('lz4'))],
  ['nothing', elf],
];

for (const [format, payload] of PAYLOADS) {
  test(`a bzImage packed with ${format} gives its ELF image`, () => {
    assert.deepEqual(Buffer.from(loadKernel(bzImage(payload)).elf), Buffer.from(elf));
  });
}

test('a vmlinux is taken as it is, and packed with gzip, xz, zstd or bzip2', () => {
  for (const bytes of [elf, gzipSync(elf), packed('xz'), zstdCompressSync(elf), packed('bzip2')]) {
    assert.deepEqual(Buffer.from(loadKernel(bytes).elf), Buffer.from(elf));
  }
});

const says = (bytes: Uint8Array, pattern: RegExp): void => {
  assert.throws(
    () => loadKernel(bytes),
    (error) => error instanceof KernelError && pattern.test(error.message) && !error.message.includes('\n'),
  );
};

test('what is no kernel is told with its first bytes', () => {
  says(Buffer.from('#!/bin/sh\n'.padEnd(4000)), /^not a kernel: .* begins with 23 21 2f 62 69 6e 2f 73 at offset 0x0$/);
  says(Buffer.alloc(0), /^not a kernel: 0 bytes/);
});

test('an ELF image of another processor is refused', () => {
  const arm = Uint8Array.from(elf);
  arm[18] = 183;
  says(arm, /at offset 0x0 is for another processor \(class 2, machine 183\)/);
  says(bzImage(gzipSync(arm)), /in the gzip data at offset 0x440 is for another processor/);
});

test('a bzImage that is cut short, too old or of an unknown format says so', () => {
  says(
    bzImage(elf).subarray(0, 2000),
    /^bzImage is cut short: its payload is 3000 bytes at offset 0x440, the file has 2000 bytes$/,
  );
  says(
    bzImage(elf, (image) => image.writeUInt16LE(0x0204, 0x206)),
    /boot protocol 2\.4 /,
  );
  says(bzImage(Buffer.from('unknown format')), /unknown format at offset 0x440: it begins with 75 6e/);
  says(
    bzImage(withSize(Buffer.from([0x89, 0x4c, 0x5a, 0x4f, 0, 0, 0, 0]))),
    /^LZO data at offset 0x440: .* not supported$/,
  );
});

test('packed data that holds something else than an ELF image says so', () => {
  says(bzImage(gzipSync(Buffer.alloc(100, 'x'))), /^no ELF image in the gzip data at offset 0x440, but 78 78 78 78$/);
});

test('a wrong or forged size in a bzImage is refused before memory is taken for it', () => {
  says(bzImage(withSize(zstdCompressSync(elf), 2999)), /unpacks to 3000 bytes instead of 2999/);
  says(bzImage(withSize(packed('lz4'), 0xfffffff0)), /claims to unpack to 4294967280 bytes/);
  for (const [, payload] of PAYLOADS.slice(0, -1)) {
    for (const size of [2999, 3001]) {
      says(bzImage(Buffer.concat([payload.subarray(0, -4), u32(size)])), /corrupt/);
    }
  }
});

test('damage anywhere is an error or goes unnoticed for lack of a check, but never a crash', () => {
  for (const [format, payload] of PAYLOADS.slice(0, -1)) {
    for (let at = 0; at < payload.length; at += 41) {
      const image = bzImage(payload);
      image[PAYLOAD + at] ^= 0x55;
      try {
        assert.equal(loadKernel(image).elf.length, elf.length, format);
      } catch (error) {
        assert.ok(error instanceof KernelError, `${format}, byte ${at}: ${error}`);
      }
    }
    for (let length = 8; length < payload.length; length += 211) {
      assert.throws(() => loadKernel(bzImage(payload.subarray(0, length))), KernelError, `${format}, ${length} bytes`);
    }
  }
});

test('damage to xz data is noticed wherever it is', () => {
  const whole = packed('xz');
  for (let at = 6; at < whole.length; at += at < whole.length - 80 ? 5 : 1) {
    const damaged = Buffer.from(whole);
    damaged[at] ^= 0x10;
    assert.throws(() => unpackXz(damaged, LIMIT), CorruptError, `byte ${at}`);
  }
});

test('an LZ4 match that repeats itself is copied byte by byte', () => {
  // One literal "a", then a match of length 19 + 40 at distance 1, then the literals that end every block.
  const block = [0x1f, 0x61, 1, 0, 40, 0x50, 0x62, 0x62, 0x62, 0x62, 0x62];
  const frame = Buffer.concat([Buffer.from([0x02, 0x21, 0x4c, 0x18]), u32(block.length), Buffer.from(block)]);
  assert.equal(Buffer.from(unpackLz4Legacy(frame, 65)).toString(), `${'a'.repeat(60)}bbbbb`);
});

test('an LZ4 match that points before its block is refused', () => {
  const block = [0x10, 0x61, 2, 0, 0x00];
  const frame = Buffer.concat([Buffer.from([0x02, 0x21, 0x4c, 0x18]), u32(block.length), Buffer.from(block)]);
  assert.throws(() => unpackLz4Legacy(frame, 5), /points before its block/);
});

test('an LZMA file that ends with a marker needs no size in its header', () => {
  assert.deepEqual(Buffer.from(unpackLzma(packed('lzma'), elf.length, LIMIT)), Buffer.from(elf));
  assert.throws(() => unpackLzma(packed('lzma'), undefined, LIMIT), /does not tell the unpacked size/);
});

test('a kernel is unpacked once; a copy of its file and the unchanged file find it, a changed one is unpacked again', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'domus-kernel-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const whole = async (file: string, cacheDir?: string): Promise<Buffer> => {
    const kernel = await openKernel(file, cacheDir, 0);
    const bytes = Buffer.alloc(kernel.size);
    kernel.read(0, bytes.subarray(0, 100));
    kernel.read(100, bytes.subarray(100));
    await kernel.close();
    return bytes;
  };
  const [path, copy] = [join(folder, 'vmlinuz'), join(folder, 'copy')];
  const cache = join(folder, 'cache');
  const kept = (ending: RegExp) => readdirSync(join(cache, 'kernels')).filter((name) => ending.test(name));
  const longAgo = (file: string) => t.mock.method(Date, 'now', () => statSync(file).ctimeMs + 2000);
  for (const file of [path, copy]) writeFileSync(file, bzImage(gzipSync(elf)));
  assert.deepEqual(await whole(path), Buffer.from(elf));
  assert.deepEqual(await whole(path, cache), Buffer.from(elf));
  assert.deepEqual([kept(/\.elf$/).length, kept(/-/).length], [1, 0], 'a file made just now may change unseen');
  longAgo(copy);
  assert.deepEqual(await whole(copy, cache), Buffer.from(elf));
  assert.deepEqual([kept(/\.elf$/).length, kept(/-/).length], [1, 1]);
  const read = t.mock.method(process.getBuiltinModule('node:crypto'), 'createHash');
  assert.deepEqual(await whole(copy, cache), Buffer.from(elf));
  assert.equal(read.mock.callCount(), 0, 'it is not even read');

  const other = Buffer.from(elf);
  other[other.length - 1]! ^= 1;
  writeFileSync(copy, bzImage(gzipSync(other)));
  longAgo(copy);
  assert.deepEqual(await whole(copy, cache), other);
  truncateSync(join(cache, 'kernels', kept(/\.elf$/)[0]!), 50);
  truncateSync(join(cache, 'kernels', kept(/\.elf$/)[1]!), 50);
  await assert.rejects(
    openKernel(copy, cache).then((kernel) => kernel.read(0, new Uint8Array(100))),
    /^KernelError: its unpacked copy in the cache is cut short$/,
  );
  await assert.rejects(openKernel(join(folder, 'none'), cache), /^KernelError: no such file$/);
});

test('of kernels kept unpacked, the newest stay', (t) => {
  const kept = mkdtempSync(join(tmpdir(), 'domus-kernel-'));
  t.after(() => rmSync(kept, { recursive: true }));
  for (let i = 0; i < 6; i++) {
    writeFileSync(join(kept, `${i}.elf`), '');
    utimesSync(join(kept, `${i}.elf`), 1000, 1000 + ((i * 5) % 6));
    symlinkSync(`${i}.elf`, join(kept, `link-${i}`));
  }
  keepNewest(kept, 3);
  // Made in the order 0, 5, 4, 3, 2, 1.
  assert.deepEqual(readdirSync(kept).sort(), ['1.elf', '2.elf', '3.elf', 'link-1', 'link-2', 'link-3']);
});
