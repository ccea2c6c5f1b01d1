/** Mappings as a program sees them: what system calls answer, and what is in memory afterwards. */
import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';
import { GuestMemory, planLayout } from '../../../src/hypervisor/memory.ts';
import { AddressSpace } from '../address-space.ts';
import { ERRNO, MADV, MAP, MREMAP, PROT, SYSTEM_CALL, type SystemCallName } from '../linux.ts';
import { Process } from '../process.ts';
import { Tree } from '../tree.ts';
import { perform } from './index.ts';

const FRAMES = 64;
const HEAP = 0x600000;
const PAGE = 4096;
const RW = PROT.READ | PROT.WRITE;
const ANONYMOUS = MAP.PRIVATE | MAP.ANONYMOUS;
/** A page fault's error code: a write by user mode. */
const WRITE = 6;

let space: AddressSpace;
let process: Process;
/** Pages whose translations were dropped. */
let flushed: Set<number>;

beforeEach(() => {
  const layout = planLayout(FRAMES, 1);
  const pages = layout.bytes / 0x10000;
  const wasm = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
  flushed = new Set();
  const flushPage = (low: number, high: number): void => void flushed.add((low >>> 0) + high * 2 ** 32);
  space = new AddressSpace(new GuestMemory(wasm.buffer as SharedArrayBuffer, layout), { flushPage, frameWritten() {} });
  process = new Process(space, new Tree('/', '/program'), { fsBase: 0, gsBase: 0 }, HEAP, []);
});

function call(name: SystemCallName, ...args: number[]): number {
  const [a = 0, b = 0, c = 0, d = 0, e = 0, f = 0] = args;
  return perform(process, SYSTEM_CALL[name], [a, b, c, d, e, f]);
}
const map = (pages: number, protection: number = RW): number =>
  call('mmap', 0, pages * PAGE, protection, ANONYMOUS, -1, 0);

test('a page gets its frame when it is touched, once, and only for what it permits', () => {
  const va = map(2);
  assert.equal(space.faultIn(va + PAGE, WRITE), true);
  assert.equal(space.faultIn(va + PAGE, WRITE), false);
  assert.equal(space.faultIn(va + 2 * PAGE, WRITE), false);
  assert.equal(space.faultIn(map(1, PROT.READ), WRITE), false);
  assert.equal(space.faultIn(map(1, PROT.NONE), 4), false);
});

test('more can be mapped than there is memory, and frames of what is unmapped are used again, empty', () => {
  assert.ok(map(100 * FRAMES) > 0);
  for (let k = 0; k < 3 * FRAMES; k++) {
    const va = map(1);
    assert.deepEqual([...space.read(va, 2)], [0, 0]);
    space.write(va, Uint8Array.of(1, 2));
    assert.equal(call('munmap', va, PAGE), 0);
    assert.ok(flushed.has(va));
  }
});

test('mremap takes the content along, across pages, and leaves nothing behind', () => {
  const va = map(2);
  space.write(va + PAGE - 2, Uint8Array.of(1, 2, 3, 4));
  assert.equal(call('mremap', va, 2 * PAGE, 3 * PAGE, 0), -ERRNO.ENOMEM);
  const to = call('mremap', va, 2 * PAGE, 3 * PAGE, MREMAP.MAYMOVE);
  assert.deepEqual([...space.read(to + PAGE - 2, 4)], [1, 2, 3, 4]);
  assert.equal(space.protectionOf(to + 2 * PAGE), RW);
  assert.equal(space.protectionOf(va), undefined);
  assert.equal(call('mremap', to, 3 * PAGE, PAGE, 0), to);
  assert.equal(space.protectionOf(to + PAGE), undefined);
});

test('the heap grows and shrinks by pages, and tells where it ends when it cannot', () => {
  assert.equal(call('brk', 0), HEAP);
  assert.equal(call('brk', HEAP + 5000), HEAP + 5000);
  space.write(HEAP + 4999, Uint8Array.of(9));
  assert.equal(call('brk', HEAP + 2 ** 40), HEAP + 5000);
  assert.equal(call('brk', HEAP + PAGE), HEAP + PAGE);
  assert.equal(space.protectionOf(HEAP + PAGE), undefined);
});

test('MADV_DONTNEED makes zeros', () => {
  const va = map(1);
  space.write(va, Uint8Array.of(1));
  assert.equal(call('madvise', va, PAGE, MADV.DONTNEED), 0);
  assert.deepEqual([...space.read(va, 1)], [0]);
});

test('a buffer that is not mapped is EFAULT, a number without a call ENOSYS', () => {
  assert.equal(call('uname', 0x1000), -ERRNO.EFAULT);
  assert.equal(perform(process, 9999, [0, 0, 0, 0, 0, 0]), -ERRNO.ENOSYS);
  assert.equal(call('mprotect', 0x1000, PAGE, RW), -ERRNO.ENOMEM);
  assert.equal(call('mmap', 0, 0, RW, ANONYMOUS, -1, 0), -ERRNO.EINVAL);
});
