import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Errno } from '../abi/errno.ts';
import { SEG, STATE } from '../x86/state.ts';
import { HypercallArgs } from './hypercall-args.ts';
import { perform } from './hypercalls.ts';
import { loadSegment, lookUp } from './segments.ts';
import type { Vcpu } from './vcpu.ts';
import { entry, FRAME, installGdt, pokeWords, setEntry, testDomain, va } from './vcpu-for-tests.ts';

function call(vcpu: Vcpu, number: number, ...values: (bigint | number)[]): number | bigint {
  const args = new HypercallArgs();
  values.forEach((value, i) => {
    args.set(i, BigInt.asUintN(64, BigInt(value)));
  });
  return perform(vcpu, number, args);
}
const SET_GDT = 2;
const UPDATE_DESCRIPTOR = 10;
const SET_SEGMENT_BASE = 25;
const KERNEL_DATA = 0x00cf93000000ffffn;
const USER_DATA = 0x00cff3000000ffffn;

test('set_gdt takes frames, raises privilege levels in place, and refuses page tables, bad types and too many entries', () => {
  const { vcpu, memory } = testDomain();
  setEntry(memory, FRAME.data, 3, KERNEL_DATA);
  pokeWords(vcpu, va(FRAME.scratch), [FRAME.data]);
  assert.equal(call(vcpu, SET_GDT, va(FRAME.scratch), 16), 0);
  assert.equal(entry(memory, FRAME.data, 3), USER_DATA);
  assert.equal(call(vcpu, SET_GDT, va(FRAME.scratch), 7169), -Errno.EINVAL);
  assert.equal(call(vcpu, SET_GDT, 0x10n, 16), -Errno.EFAULT);
  setEntry(memory, FRAME.data, 4, 0x00008b0000000067n); // A TSS.
  assert.equal(call(vcpu, SET_GDT, va(FRAME.scratch), 16), -Errno.EINVAL);
  for (const bad of [FRAME.l1, 512, 0xffff_ffff_ffffn]) {
    pokeWords(vcpu, va(FRAME.scratch), [bad]);
    assert.equal(call(vcpu, SET_GDT, va(FRAME.scratch), 16), -Errno.EINVAL, String(bad));
  }
  assert.equal(vcpu.gdtEntries, 16);
  assert.equal(vcpu.domain.frameTyped(FRAME.data), true, 'the frame cannot be given back');
});

test('update_descriptor writes lawful descriptors into plain RAM only', () => {
  const { vcpu, memory } = testDomain();
  const at = BigInt(FRAME.data * 4096 + 12 * 8);
  assert.equal(call(vcpu, UPDATE_DESCRIPTOR, at, KERNEL_DATA), 0);
  assert.equal(entry(memory, FRAME.data, 12), USER_DATA);
  assert.equal(call(vcpu, UPDATE_DESCRIPTOR, at, 0n), 0);
  assert.equal(call(vcpu, UPDATE_DESCRIPTOR, at + 4n, 0n), -Errno.EINVAL, 'not aligned');
  assert.equal(call(vcpu, UPDATE_DESCRIPTOR, at, 0x0000890000000067n), -Errno.EINVAL, 'a TSS');
  assert.equal(call(vcpu, UPDATE_DESCRIPTOR, BigInt(FRAME.l1 * 4096), 0n), -Errno.EINVAL, 'a page table');
  assert.equal(call(vcpu, UPDATE_DESCRIPTOR, 512n * 4096n, 0n), -Errno.EINVAL, 'shared_info');
  assert.equal(call(vcpu, UPDATE_DESCRIPTOR, 1n << 52n, 0n), -Errno.EINVAL, 'nowhere');
});

test('set_segment_base sets FS, the user’s and the kernel’s GS, and refuses non-canonical bases', () => {
  const { vcpu } = testDomain();
  assert.equal(call(vcpu, SET_SEGMENT_BASE, 0, 0x1111n), 0);
  assert.equal(call(vcpu, SET_SEGMENT_BASE, 1, 0x2222n), 0);
  assert.equal(call(vcpu, SET_SEGMENT_BASE, 2, 0xffff_ffff_8000_0000n), 0);
  assert.equal(vcpu.u64(STATE.fsBase), 0x1111n);
  assert.equal(vcpu.u64(STATE.gsBaseUser), 0x2222n);
  assert.equal(vcpu.u64(STATE.gsBase), 0xffff_ffff_8000_0000n);
  assert.equal(call(vcpu, SET_SEGMENT_BASE, 0, 1n << 63n), -Errno.EINVAL);
  assert.equal(call(vcpu, SET_SEGMENT_BASE, 4, 0n), -Errno.EINVAL);
});

test('set_segment_base of the user GS selector loads its base, or none for a bad selector, and always returns 0', () => {
  const { vcpu, memory } = testDomain();
  installGdt(vcpu);
  setEntry(memory, FRAME.data, 12, 0x56cff3123456ffffn & ~0n);
  assert.equal(call(vcpu, SET_SEGMENT_BASE, 3, 12 * 8), 0);
  assert.equal(vcpu.selector(SEG.gs), 12 * 8 + 3);
  assert.equal(vcpu.u64(STATE.gsBaseUser), 0x56123456n);
  assert.equal(call(vcpu, SET_SEGMENT_BASE, 3, 0x1003), 0);
  assert.equal(vcpu.selector(SEG.gs), 0);
  assert.equal(vcpu.u64(STATE.gsBaseUser), 0n);
});

test('loading selectors: null and data are taken, others are #GP with the selector, absent ones #NP', () => {
  const { vcpu, memory } = testDomain();
  installGdt(vcpu);
  vcpu.setU64(STATE.gsBase, 5n);
  assert.equal(loadSegment(vcpu, SEG.gs, 0), undefined);
  assert.equal(vcpu.u64(STATE.gsBase), 0n, 'a null selector clears the base, as on Intel');
  assert.equal(loadSegment(vcpu, SEG.ds, 0x2b), undefined);
  assert.deepEqual(loadSegment(vcpu, SEG.ds, 0x1003), { vector: 13, error: 0x1000 });
  assert.deepEqual(loadSegment(vcpu, SEG.ss, 0), { vector: 13, error: 0 });
  setEntry(memory, FRAME.data, 9, USER_DATA & ~(1n << 47n));
  assert.deepEqual(loadSegment(vcpu, SEG.es, 9 * 8 + 3), { vector: 11, error: 9 * 8 });
  assert.equal(vcpu.selector(SEG.ds), 0x2b, 'a fault changes nothing');
});

test('the flat descriptors exist without any GDT, and the LDT ends where it was said to (XSA-298)', () => {
  const { vcpu } = testDomain();
  assert.equal(lookUp(vcpu, 0xe02b)?.hi, 0x00cff300);
  assert.equal(lookUp(vcpu, 0xe043), undefined);
  assert.equal(lookUp(vcpu, 0x1007), undefined);
  vcpu.ldtBase = va(FRAME.scratch);
  vcpu.ldtEntries = 2;
  pokeWords(vcpu, va(FRAME.scratch), [0, USER_DATA, USER_DATA]);
  assert.equal(lookUp(vcpu, 0x0f)?.hi, 0x00cff300);
  assert.equal(lookUp(vcpu, 0x17), undefined);
  vcpu.ldtBase = 0x1000n; // Not mapped.
  assert.equal(lookUp(vcpu, 0x0f), undefined);
});
