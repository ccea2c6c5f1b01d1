import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Exit } from '../../x86/exits.ts';
import { GPR, RFLAGS, SEG, STATE } from '../../x86/state.ts';
import { handle } from '../run.ts';
import {
  enterUser,
  exception,
  FRAME,
  HANDLER,
  handlerOf,
  installHandlers,
  testDomain,
  USER_CODE,
  USER_STACK,
  va,
  words,
} from '../vcpu-for-tests.ts';
import { deliver, softwareInterrupt } from './exceptions.ts';

test('an exception without error code pushes rcx r11 rip cs rflags rsp ss below the aligned stack pointer', () => {
  const { vcpu } = testDomain();
  installHandlers(vcpu);
  vcpu.setReg64(GPR.rsp, va(FRAME.stack, 0xff8));
  vcpu.setReg64(GPR.rcx, 0x1111n);
  vcpu.setReg64(GPR.r11, 0x2222n);
  vcpu.upcallMask = 0;
  vcpu.flags = RFLAGS.IF | RFLAGS.CF | RFLAGS.DF | RFLAGS.AC | RFLAGS.NT | RFLAGS.TF;
  assert.equal(deliver(vcpu, 0), true);
  const rsp = vcpu.reg64(GPR.rsp);
  assert.equal(rsp, va(FRAME.stack, 0xff0) - 56n);
  assert.deepEqual(words(vcpu, rsp, 7), [
    0x1111n,
    0x2222n,
    va(FRAME.text),
    0xe030n, // From kernel mode the RPL is taken away: Linux tells kernel from user by it.
    BigInt(RFLAGS.IF | RFLAGS.CF | RFLAGS.DF | RFLAGS.AC | RFLAGS.NT | RFLAGS.TF | RFLAGS.fixed),
    va(FRAME.stack, 0xff8),
    0xe02bn,
  ]);
  assert.equal(vcpu.rip, handlerOf(0));
  assert.equal(vcpu.flags, RFLAGS.IF | RFLAGS.CF | RFLAGS.DF | RFLAGS.fixed);
  assert.equal(vcpu.upcallMask, 1);
});

test('an exception with error code pushes it as a 64-bit word above r11', () => {
  const { vcpu } = testDomain();
  installHandlers(vcpu);
  deliver(vcpu, 13, 0x402);
  const rsp = vcpu.reg64(GPR.rsp);
  assert.equal(rsp, va(FRAME.stack + 1) - 64n);
  const frame = words(vcpu, rsp, 8);
  assert.equal(frame[2], 0x402n);
  assert.equal(frame[3], va(FRAME.text));
  assert.equal(frame[6], va(FRAME.stack + 1));
});

test('the frame shows interrupts as the upcall mask has them, and the saved mask in the upper half of CS', () => {
  const { vcpu } = testDomain();
  installHandlers(vcpu, 0);
  vcpu.upcallMask = 1;
  vcpu.flags = RFLAGS.IF;
  deliver(vcpu, 6);
  const frame = words(vcpu, vcpu.reg64(GPR.rsp), 7);
  assert.equal(frame[3], 0x1_0000_e030n);
  assert.equal(frame[4], BigInt(RFLAGS.fixed), 'IF is clear because events are masked');
});

test('a trap entry without the mask flag leaves the upcall mask alone', () => {
  const { vcpu } = testDomain();
  installHandlers(vcpu, 0);
  vcpu.upcallMask = 0;
  deliver(vcpu, 3);
  assert.equal(vcpu.upcallMask, 0);
});

test('an exception from user mode switches stack, GS base and root, and keeps the RPL of CS', () => {
  const { vcpu, engine } = testDomain();
  installHandlers(vcpu);
  vcpu.setU64(STATE.gsBase, 0xaaaan);
  enterUser(vcpu);
  vcpu.setU64(STATE.gsBase, 0xbbbbn);
  engine.calls.length = 0;
  vcpu.setReg64(GPR.rsp, USER_STACK + 0x7f3n);
  handle(vcpu, exception(vcpu, 14, 0, 0x1234n));
  assert.equal(vcpu.kernelMode, true);
  assert.deepEqual(engine.calls, ['modeChanged']);
  assert.equal(vcpu.u64(STATE.gsBase), 0xaaaan);
  assert.equal(vcpu.u64(STATE.gsBaseUser), 0xbbbbn);
  const frame = words(vcpu, vcpu.reg64(GPR.rsp), 8);
  assert.equal(vcpu.reg64(GPR.rsp), va(FRAME.stack + 1) - 64n);
  assert.equal(frame[2], 4n, 'the user bit of a page fault says guest user mode');
  assert.equal(frame[3], USER_CODE);
  assert.equal(frame[4], 0x1_0000_0033n);
  assert.equal(frame[6], USER_STACK + 0x7f3n);
  assert.equal(frame[7], 0x2bn);
  assert.equal(vcpu.selector(SEG.cs), 0xe033);
  assert.equal(vcpu.selector(SEG.ss), 0xe02b);
});

test('a page fault in kernel mode has no user bit, and CR2 goes to the vcpu_info in use', () => {
  const { vcpu, domain, memory } = testDomain();
  installHandlers(vcpu);
  domain.events.moveInfo(0, memory.at(FRAME.data) + 64);
  handle(vcpu, exception(vcpu, 14, 4 | 2, 0xdead_beef_000n));
  assert.equal(words(vcpu, vcpu.reg64(GPR.rsp), 3)[2], 2n);
  assert.equal(vcpu.readU64(va(FRAME.data, 64 + 0x10)), 0xdead_beef_000n);
});

test('a frame may lie on two pages', () => {
  const { vcpu } = testDomain();
  installHandlers(vcpu);
  vcpu.setReg64(GPR.rsp, va(FRAME.stack + 1, 0x10));
  vcpu.setReg64(GPR.rcx, 0x77n);
  deliver(vcpu, 0);
  assert.equal(vcpu.reg64(GPR.rsp), va(FRAME.stack, 0xfd8));
  assert.equal(vcpu.readU64(va(FRAME.stack, 0xfd8)), 0x77n);
  assert.equal(vcpu.readU64(va(FRAME.stack + 1, 8)), 0xe02bn);
});

test('a kernel stack that is not mapped crashes the domain with a report', () => {
  const { vcpu, domain } = testDomain();
  installHandlers(vcpu);
  vcpu.setReg64(GPR.rsp, 0x10n);
  assert.equal(deliver(vcpu, 0), false);
  assert.match(domain.crashReport![0]!, /^the stack .* cannot be written \(vector 0\)/);
  assert.deepEqual(domain.shutdown, { reason: 3 });
});

test('a stack in the hypervisor’s range or wrapping below zero crashes the domain, not the monitor', () => {
  for (const rsp of [0xffff_8000_0000_1000n, 0xffff_87ff_ffff_ff00n, 0x0000_8000_0000_0000n, 8n, 0n]) {
    const { vcpu, domain } = testDomain();
    installHandlers(vcpu);
    vcpu.setReg64(GPR.rsp, rsp);
    assert.equal(deliver(vcpu, 0), false, rsp.toString(16));
    assert.ok(domain.crashReport);
  }
});

test('an exception without a handler crashes the domain, and the report shows code, stack and the way there', () => {
  const { vcpu, domain } = testDomain();
  handle(vcpu, exception(vcpu, 6));
  const report = domain.crashReport!;
  assert.match(report[0]!, /no handler is registered for vector 6/);
  assert.ok(report.some((line) => /rip ffffffff80014000/.test(line)));
  assert.ok(report.some((line) => line.startsWith('code at rip: 00 00')));
  assert.ok(report.some((line) => /exit exception 6/.test(line)));
});

test('#NM reaches the guest with virtual CR0.TS already clear', () => {
  const { vcpu } = testDomain();
  installHandlers(vcpu);
  vcpu.setU32(STATE.taskSwitched, 1);
  handle(vcpu, exception(vcpu, 7));
  assert.equal(vcpu.u32(STATE.taskSwitched), 0);
  assert.equal(vcpu.rip, handlerOf(7));
});

test('a user SYSCALL enters the callback with the return address in rcx, flags in r11 and DF clear', () => {
  const { vcpu } = testDomain();
  vcpu.callbacks.syscall.set(HANDLER, true);
  vcpu.upcallMask = 0;
  enterUser(vcpu);
  vcpu.flags = RFLAGS.IF | RFLAGS.DF | RFLAGS.ZF;
  vcpu.skip(2);
  handle(vcpu, Exit.Syscall);
  const frame = words(vcpu, vcpu.reg64(GPR.rsp), 7);
  const flags = BigInt(RFLAGS.IF | RFLAGS.DF | RFLAGS.ZF | RFLAGS.fixed);
  assert.deepEqual(frame, [USER_CODE + 2n, flags, USER_CODE + 2n, 0xe033n, flags, USER_STACK + 0x800n, 0xe02bn]);
  assert.equal(vcpu.flags & RFLAGS.DF, 0);
  assert.equal(vcpu.rip, HANDLER);
});

test('a user SYSCALL without a callback is #UD at the instruction', () => {
  const { vcpu } = testDomain();
  installHandlers(vcpu);
  enterUser(vcpu);
  vcpu.skip(2);
  handle(vcpu, Exit.Syscall);
  assert.equal(vcpu.rip, handlerOf(6));
  assert.equal(words(vcpu, vcpu.reg64(GPR.rsp), 3)[2], USER_CODE);
});

test('int 0x80 without a handler is #GP 0x402 at the instruction (XSA-259)', () => {
  const { vcpu } = testDomain();
  installHandlers(vcpu);
  enterUser(vcpu);
  vcpu.skip(2);
  vcpu.setU32(STATE.exitVector, 0x80);
  vcpu.setU32(STATE.exitLength, 2);
  handle(vcpu, Exit.SoftwareInterrupt);
  const frame = words(vcpu, vcpu.reg64(GPR.rsp), 4);
  assert.equal(frame[2], 0x402n);
  assert.equal(frame[3], USER_CODE);
});

test('int n checks the entry’s DPL against the mode, and pushes no error code even for vectors that have one', () => {
  const rows = [
    { kernel: false, dpl: 3, entered: true },
    { kernel: false, dpl: 2, entered: false },
    { kernel: true, dpl: 1, entered: true },
    { kernel: true, dpl: 0, entered: false },
  ];
  for (const { kernel, dpl, entered } of rows) {
    const { vcpu } = testDomain();
    installHandlers(vcpu);
    vcpu.traps.set(14, dpl, 0, handlerOf(14));
    if (!kernel) enterUser(vcpu);
    const at = vcpu.rip;
    vcpu.skip(2);
    softwareInterrupt(vcpu, 14, 2);
    const frame = words(vcpu, vcpu.reg64(GPR.rsp), 4);
    assert.equal(vcpu.rip, handlerOf(entered ? 14 : 13), `kernel ${kernel} dpl ${dpl}`);
    if (entered) assert.equal(frame[2], at + 2n);
    else assert.deepEqual(frame.slice(2), [BigInt((14 << 3) | 2), at]);
  }
});
