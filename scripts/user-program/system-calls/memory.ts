/** System calls about memory. Mappings of files are copies: nobody else sees what is written, and nobody else writes. */
import { pageOf, pagesUp } from '../address-space.ts';
import { MADV, MAP, MREMAP, PROT } from '../linux.ts';
import type { Process } from '../process.ts';
import { int, nothing, refuse, type SystemCalls } from './call.ts';

const HEAP_MAX = 2 ** 32;

export const MEMORY_CALLS: SystemCalls = {
  mmap,
  munmap: (process, va, length) => {
    if (va !== pageOf(va) || length <= 0) refuse('EINVAL');
    process.space.unmap(va, pagesUp(length));
    return 0;
  },
  mprotect: (process, va, length, protection) => {
    if (va !== pageOf(va)) refuse('EINVAL');
    process.space.protect(va, pagesUp(length), protection);
    return 0;
  },
  mremap,
  brk,
  madvise: (process, va, length, advice) => {
    if (advice === MADV.DONTNEED) process.space.clear(va, pagesUp(length));
    return 0;
  },
  fadvise64: nothing,
};

function mmap(p: Process, wish: number, bytes: number, protection: number, flags: number, fd: number, offset: number) {
  if (bytes <= 0 || offset !== pageOf(offset)) refuse('EINVAL');
  const length = pagesUp(bytes);
  const fixed = (flags & (MAP.FIXED | MAP.FIXED_NOREPLACE)) !== 0;
  if (fixed && wish !== pageOf(wish)) refuse('EINVAL');
  const file = (flags & MAP.ANONYMOUS) !== 0 ? undefined : p.descriptors.get(int(fd));
  if (file !== undefined && (flags & MAP.SHARED) !== 0 && (protection & PROT.WRITE) !== 0) refuse('EACCES');
  const va = fixed ? wish : p.reserve(length);
  p.space.map(va, length, protection);
  if (file !== undefined) {
    const content = new Uint8Array(length);
    p.space.write(va, content.subarray(0, file.read(content, offset)));
  }
  return va;
}

/** Grows where it is moved to, as nothing can be known to be free behind it; shrinks in its place. */
function mremap(p: Process, va: number, oldBytes: number, newBytes: number, flags: number): number {
  const [before, after] = [pagesUp(oldBytes), pagesUp(newBytes)];
  if (va !== pageOf(va) || after === 0 || (flags & MREMAP.FIXED) !== 0) refuse('EINVAL');
  const protection = p.space.protectionOf(va) ?? refuse('EFAULT');
  if (after <= before) {
    p.space.unmap(va + after, before - after);
    return va;
  }
  if ((flags & MREMAP.MAYMOVE) === 0) refuse('ENOMEM');
  const to = p.reserve(after);
  p.space.move(va, to, before);
  p.space.map(to + before, after - before, protection);
  return to;
}

/** As the kernel's: the end as it is now, whether or not it could be moved. */
function brk({ heap, space }: Process, end: number): number {
  if (end < heap.start || end > heap.start + HEAP_MAX) return heap.end;
  const [before, after] = [pagesUp(heap.end), pagesUp(end)];
  if (after > before) space.map(before, after - before, PROT.READ | PROT.WRITE);
  else space.unmap(after, before - after);
  heap.end = end;
  return end;
}
