import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Exit } from '../../x86/exits.ts';
import { GPR, RFLAGS, SEG, STATE } from '../../x86/state.ts';
import { handle } from '../run.ts';
import type { Vcpu } from '../vcpu.ts';
import {
  enterUser,
  FRAME,
  handlerOf,
  installGdt,
  installHandlers,
  pokeWords,
  syscall,
  testDomain,
  USER_CODE,
  USER_STACK,
  va,
  words,
} from '../vcpu-for-tests.ts';
import { deliver } from './exceptions.ts';

const IRET = 23n;

/** Make the iret hypercall with this frame: rax r11 rcx flags rip cs rflags rsp ss. */
function iret(vcpu: Vcpu, frame: readonly (bigint | number)[]): void {
  const rsp = va(FRAME.stack, 0x800);
  pokeWords(vcpu, rsp, frame);
  vcpu.setReg64(GPR.rsp, rsp);
  vcpu.setReg64(GPR.rax, IRET);
  syscall(vcpu);
  handle(vcpu, Exit.Syscall);
}

function withUser() {
  const t = testDomain();
  installHandlers(t.vcpu);
  installGdt(t.vcpu);
  enterUser(t.vcpu);
  t.vcpu.setKernelMode(true);
  t.vcpu.setSelector(SEG.cs, 0xe033);
  t.vcpu.setSelector(SEG.ss, 0xe02b);
  return t;
}

test('iret to user mode takes every register from the frame and the upcall mask from IF', () => {
  const { vcpu } = withUser();
  vcpu.setU64(STATE.gsBase, 0xaaaan);
  vcpu.setU64(STATE.gsBaseUser, 0xbbbbn);
  iret(vcpu, [1, 2, 3, 0, USER_CODE, 0x33, RFLAGS.IF | RFLAGS.CF | RFLAGS.IOPL | RFLAGS.TF, USER_STACK + 8n, 0x2b]);
  assert.equal(vcpu.kernelMode, false);
  assert.equal(vcpu.reg64(GPR.rax), 1n, 'no result is stored over it');
  assert.equal(vcpu.reg64(GPR.r11), 2n);
  assert.equal(vcpu.reg64(GPR.rcx), 3n);
  assert.equal(vcpu.rip, USER_CODE);
  assert.equal(vcpu.selector(SEG.cs), 0x33);
  assert.equal(vcpu.reg64(GPR.rsp), USER_STACK + 8n);
  assert.equal(vcpu.flags, RFLAGS.IF | RFLAGS.CF | RFLAGS.TF | RFLAGS.fixed);
  assert.equal(vcpu.upcallMask, 0);
  assert.equal(vcpu.u64(STATE.gsBase), 0xbbbbn);
});

test('iret with VGCF_in_syscall returns like SYSRET: rcx is RIP, r11 the flags', () => {
  const { vcpu } = withUser();
  iret(vcpu, [1, 2, 3, 0x100, USER_CODE, 0x33, RFLAGS.IF, USER_STACK, 0x2b]);
  assert.equal(vcpu.reg64(GPR.rcx), USER_CODE);
  assert.equal(vcpu.reg64(GPR.r11), BigInt(RFLAGS.IF | RFLAGS.fixed));
});

test('iret to kernel mode: RPL 0 stays in kernel mode, events masked when IF is clear, a null SS is tolerated', () => {
  const { vcpu } = withUser();
  iret(vcpu, [1, 2, 3, 0, va(FRAME.text, 8), 0xe030, 0, va(FRAME.stack, 0x100), 0]);
  assert.equal(vcpu.kernelMode, true);
  assert.equal(vcpu.rip, va(FRAME.text, 8));
  assert.equal(vcpu.selector(SEG.cs), 0xe033);
  assert.equal(vcpu.upcallMask, 1);
});

test('what a bounce saves, an iret of the same frame brings back', () => {
  const { vcpu } = withUser();
  iret(vcpu, [7, 8, 9, 0, USER_CODE + 0x10n, 0x33, RFLAGS.IF | RFLAGS.ZF, USER_STACK + 0x123n, 0x2b]);
  const before = {
    rip: vcpu.rip,
    rsp: vcpu.reg64(GPR.rsp),
    rcx: vcpu.reg64(GPR.rcx),
    r11: vcpu.reg64(GPR.r11),
    flags: vcpu.flags,
  };
  deliver(vcpu, 0);
  const [rcx, r11, rip, cs, rflags, rsp, ss] = words(vcpu, vcpu.reg64(GPR.rsp), 7) as [
    bigint,
    bigint,
    bigint,
    bigint,
    bigint,
    bigint,
    bigint,
  ];
  iret(vcpu, [7, r11, rcx, 0, rip, cs & 0xffffn, rflags, rsp, ss]);
  const after = {
    rip: vcpu.rip,
    rsp: vcpu.reg64(GPR.rsp),
    rcx: vcpu.reg64(GPR.rcx),
    r11: vcpu.reg64(GPR.r11),
    flags: vcpu.flags,
  };
  assert.deepEqual(after, before);
  assert.equal(vcpu.kernelMode, false);
});

test('an iret frame that cannot be read crashes the domain', () => {
  const { vcpu, domain } = withUser();
  vcpu.setReg64(GPR.rsp, 0x1000n);
  vcpu.setReg64(GPR.rax, IRET);
  handle(vcpu, Exit.Syscall);
  assert.match(domain.crashReport![0]!, /frame of the iret hypercall cannot be read/);
});

test('iret to user mode without a user page table crashes the domain', () => {
  const { vcpu, domain } = testDomain();
  installGdt(vcpu);
  iret(vcpu, [0, 0, 0, 0, USER_CODE, 0x33, RFLAGS.IF, USER_STACK, 0x2b]);
  assert.match(domain.crashReport![0]!, /no user page table/);
});

test('a target that cannot be entered faults from the new mode, with the frame’s RIP and RSP', () => {
  const rows = [
    { name: 'non-canonical RIP', rip: 0x0000_8000_0000_0000n, cs: 0x33, ss: 0x2b, vector: 13, error: 0n },
    { name: 'CS beyond the GDT', rip: USER_CODE, cs: 0x1003, ss: 0x2b, vector: 13, error: 0x1000n },
    { name: 'CS is data', rip: USER_CODE, cs: 0x2b, ss: 0x2b, vector: 13, error: 0x28n },
    { name: 'SS is code', rip: USER_CODE, cs: 0x33, ss: 0x33, vector: 13, error: 0x30n },
    { name: 'SS is null in user mode', rip: USER_CODE, cs: 0x33, ss: 0, vector: 13, error: 0n },
  ];
  for (const { name, rip, cs, ss, vector, error } of rows) {
    const { vcpu } = withUser();
    iret(vcpu, [0, 0, 0, 0, rip, cs, RFLAGS.IF, USER_STACK + 0x40n, ss]);
    assert.equal(vcpu.rip, handlerOf(vector), name);
    const frame = words(vcpu, vcpu.reg64(GPR.rsp), 8);
    assert.equal(frame[2], error, name);
    assert.equal(frame[3], rip, name);
    assert.equal(Number(frame[4]! & 3n), 3, name);
    assert.equal(frame[6], USER_STACK + 0x40n, name);
  }
});

test('a 32-bit program is killed by #GP and the log says so once', () => {
  const { vcpu, log, domain } = withUser();
  for (let i = 0; i < 3; i++) {
    iret(vcpu, [0, 0, 0, 0, USER_CODE, 0x23, RFLAGS.IF, USER_STACK, 0x2b]);
    assert.equal(vcpu.rip, handlerOf(13));
  }
  assert.equal(log.filter((line) => /32-bit/.test(line)).length, 1);
  assert.equal(domain.crashReport, undefined);
});
