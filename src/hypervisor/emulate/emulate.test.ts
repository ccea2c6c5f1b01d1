import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Privileged } from '../../x86/exits.ts';
import { GPR, RFLAGS, SEG, STATE } from '../../x86/state.ts';
import { handle } from '../run.ts';
import type { Vcpu } from '../vcpu.ts';
import {
  enterUser,
  FRAME,
  handlerOf,
  type InstructionExit,
  installGdt,
  installHandlers,
  instruction,
  poke,
  pokeWords,
  setEntry,
  testDomain,
  USER_CODE,
  USER_STACK,
  va,
  words,
} from '../vcpu-for-tests.ts';
import { CPUID_FEATURES, cpuidLeaf } from './cpuid.ts';

const TEXT = va(FRAME.text);
const perform = (vcpu: Vcpu, name: Privileged, detail?: InstructionExit) =>
  handle(vcpu, instruction(vcpu, name, detail));
/** Vector that the guest entered, with the error code where there is one. */
const fault = (vcpu: Vcpu) => Number((vcpu.rip - handlerOf(0)) / 16n);
const errorCode = (vcpu: Vcpu) => words(vcpu, vcpu.reg64(GPR.rsp), 3)[2]!;

function ready(user = false) {
  const t = testDomain();
  installHandlers(t.vcpu);
  installGdt(t.vcpu);
  if (user) enterUser(t.vcpu);
  return t;
}

test('ud2; "xen"; cpuid answers and skips seven bytes, anything else after the prefix is #UD', () => {
  const { vcpu } = ready();
  poke(vcpu, TEXT, [0x0f, 0x0b, 0x78, 0x65, 0x6e, 0x0f, 0xa2]);
  vcpu.setReg64(GPR.rax, 0x40000000n);
  perform(vcpu, 'ud2');
  assert.equal(vcpu.rip, TEXT + 7n);
  assert.equal(vcpu.reg64(GPR.rbx), 0x566e6558n);
  vcpu.rip = TEXT;
  poke(vcpu, TEXT, [0x0f, 0x0b, 0x78, 0x65, 0x6e, 0x0f, 0xa3]);
  perform(vcpu, 'ud2');
  assert.equal(fault(vcpu), 6);
});

test('a forced-emulation prefix at the end of mapped memory is a plain #UD', () => {
  const { vcpu } = ready();
  vcpu.rip = va(511, 4092);
  poke(vcpu, vcpu.rip, [0x0f, 0x0b, 0x78, 0x65]);
  perform(vcpu, 'ud2');
  assert.equal(fault(vcpu), 6);
});

test('CPUID says what 3.7 recommends, from the feature table', () => {
  const { vcpu } = ready();
  const edx = cpuidLeaf(vcpu, 1, 0)[3];
  assert.equal(edx & 0x0789cbf5 & ~0x4880, edx, 'nothing beyond the recommended set, MCE, MCA and SEP dropped');
  for (const name of ['fpu', 'tsc', 'msr', 'pae', 'cx8', 'cmov', 'fxsr', 'sse2']) {
    const row = CPUID_FEATURES.find((f) => f.name === name)!;
    assert.equal((edx >>> row.bit) & 1, 1, name);
  }
  assert.equal(cpuidLeaf(vcpu, 1, 0)[2] >>> 31, 1, 'hypervisor');
  assert.deepEqual(cpuidLeaf(vcpu, 0x80000001, 0), [0, 0, 1, 0x20100800]);
  assert.equal(cpuidLeaf(vcpu, 7, 0)[3], 1 << 14, 'SERIALIZE');
  assert.deepEqual(cpuidLeaf(vcpu, 0x16, 0), [1000, 1000, 100, 0]);
  assert.deepEqual(cpuidLeaf(vcpu, 0x40000100, 0), [0, 0, 0, 0]);
  const brand = [2, 3, 4].flatMap((leaf) => [...cpuidLeaf(vcpu, 0x80000000 + leaf, 0)]);
  const text = String.fromCharCode(...brand.flatMap((word) => [0, 8, 16, 24].map((shift) => (word >>> shift) & 0xff)));
  assert.equal(text.replace(/\0+$/, ''), 'Domus Virtual CPU');
});

test('the kernel’s first instruction, WRMSR of its GS base, works without any handler', () => {
  const { vcpu } = testDomain();
  vcpu.setReg64(GPR.rcx, 0xc0000101n);
  vcpu.setReg64(GPR.rax, 0x8304e000n);
  vcpu.setReg64(GPR.rdx, 0xffffffffn);
  perform(vcpu, 'wrmsr');
  assert.equal(vcpu.u64(STATE.gsBase), 0xffff_ffff_8304_e000n);
  assert.equal(vcpu.rip, TEXT + 2n);
});

test('a non-canonical base MSR is #GP (XSA-193), an unknown MSR is #GP once there is a handler and 0 before', () => {
  for (const msr of [0xc0000100n, 0xc0000101n, 0xc0000102n]) {
    const { vcpu } = ready();
    vcpu.setReg64(GPR.rcx, msr);
    vcpu.setReg64(GPR.rdx, 0x8000n);
    perform(vcpu, 'wrmsr');
    assert.equal(fault(vcpu), 13);
  }
  const { vcpu } = testDomain();
  vcpu.setReg64(GPR.rcx, 0x1234n);
  vcpu.setReg64(GPR.rax, 7n);
  perform(vcpu, 'rdmsr');
  assert.equal(vcpu.reg64(GPR.rax), 0n);
  installHandlers(vcpu);
  perform(vcpu, 'rdmsr');
  assert.equal(fault(vcpu), 13);
});

test('user mode gets #GP for every instruction that is the kernel’s', () => {
  const names: Privileged[] = [
    'rdmsr',
    'wrmsr',
    'mov_from_cr',
    'mov_to_cr',
    'mov_from_dr',
    'mov_to_dr',
    'clts',
    'wbinvd',
    'invd',
  ];
  const always: Privileged[] = [
    'hlt',
    'lgdt',
    'lidt',
    'lldt',
    'ltr',
    'lmsw',
    'invlpg',
    'swapgs',
    'sysret',
    'sysexit',
    'rdpmc',
  ];
  for (const name of [...names, ...always]) {
    const { vcpu } = ready(true);
    vcpu.setReg64(GPR.rcx, 0xc0000100n);
    perform(vcpu, name);
    assert.equal(fault(vcpu), 13, name);
    assert.equal(words(vcpu, vcpu.reg64(GPR.rsp), 4)[3], USER_CODE, name);
  }
  for (const name of always) {
    const { vcpu } = ready();
    perform(vcpu, name);
    assert.equal(fault(vcpu), 13, `${name} in kernel mode`);
  }
});

test('CR0 shows and takes TS only, CR2 is kept twice, CR3 is the root, CR4 drops what it does not have', () => {
  const { vcpu } = ready();
  perform(vcpu, 'mov_from_cr', { reg: 0, rm: GPR.rbx });
  assert.equal(vcpu.reg64(GPR.rbx), 0x80050033n);
  vcpu.setReg64(GPR.rbx, 0x8005003bn);
  perform(vcpu, 'mov_to_cr', { reg: 0, rm: GPR.rbx });
  assert.equal(vcpu.u32(STATE.taskSwitched), 1);
  perform(vcpu, 'clts');
  assert.equal(vcpu.u32(STATE.taskSwitched), 0);
  vcpu.setReg64(GPR.rbx, 0x1234_5000n);
  perform(vcpu, 'mov_to_cr', { reg: 2, rm: GPR.rbx });
  assert.equal(vcpu.memory.u64[(vcpu.infoAddress + 0x10) / 8], 0x1234_5000n);
  perform(vcpu, 'mov_from_cr', { reg: 3, rm: GPR.rbx });
  assert.equal(vcpu.reg64(GPR.rbx), BigInt(FRAME.l4) << 12n);
  vcpu.setReg64(GPR.rbx, 0xffff_ffffn);
  perform(vcpu, 'mov_to_cr', { reg: 4, rm: GPR.rbx });
  perform(vcpu, 'mov_from_cr', { reg: 4, rm: GPR.rcx });
  assert.equal(vcpu.reg64(GPR.rcx), 0x66cn);
  vcpu.setReg64(GPR.rbx, 0x80050013n);
  perform(vcpu, 'mov_to_cr', { reg: 0, rm: GPR.rbx });
  assert.equal(fault(vcpu), 13);
});

test('MOV to CR3 loads a lawful root and faults for others', () => {
  const { vcpu, engine } = ready();
  vcpu.setReg64(GPR.rbx, BigInt(FRAME.text) << 12n);
  setEntry(vcpu.memory, FRAME.text, 3, 0x0000_0000_00fe_e067n | (1n << 40n));
  perform(vcpu, 'mov_to_cr', { reg: 3, rm: GPR.rbx });
  assert.equal(fault(vcpu), 13);
  assert.equal(vcpu.kernelRoot, FRAME.l4);
  engine.calls.length = 0;
});

test('native IRETQ to self works at privilege 3, aligned or not, and cannot change IF or IOPL', () => {
  for (const rsp of [va(FRAME.stack, 0x800), va(FRAME.stack, 0x804), va(FRAME.stack, 0xff8)]) {
    const { vcpu } = ready();
    pokeWords(vcpu, rsp, [TEXT + 0x40n, 0xe033, RFLAGS.ZF | RFLAGS.IOPL, va(FRAME.stack, 0x900), 0xe02b]);
    vcpu.setReg64(GPR.rsp, rsp);
    perform(vcpu, 'iret', { size: 8, rexW: true });
    assert.equal(vcpu.rip, TEXT + 0x40n);
    assert.equal(vcpu.reg64(GPR.rsp), va(FRAME.stack, 0x900));
    assert.equal(vcpu.flags, RFLAGS.ZF | RFLAGS.IF | RFLAGS.fixed);
    assert.equal(vcpu.selector(SEG.cs), 0xe033);
    assert.equal(vcpu.kernelMode, true);
  }
});

test('native IRETQ from an unmapped stack is a page fault at the instruction', () => {
  const { vcpu } = ready(true);
  vcpu.setReg64(GPR.rsp, 0x7000n);
  perform(vcpu, 'iret', { size: 8, rexW: true });
  assert.equal(fault(vcpu), 14);
  assert.equal(errorCode(vcpu), 4n);
  assert.equal(vcpu.u64(STATE.cr2), 0x7000n);
});

test('a far call through an LDT selector beyond the limit is #GP of that selector (XSA-298)', () => {
  const { vcpu } = ready(true);
  const bytes = new Uint8Array(10);
  bytes.set([0, 0, 0, 0, 0, 0, 0, 0, 0x07, 0x10]);
  vcpu.memory.u8.set(bytes, vcpu.memory.at(FRAME.userStack));
  perform(vcpu, 'far_call', { address: USER_STACK, size: 8, rexW: true });
  assert.equal(fault(vcpu), 13);
  assert.equal(errorCode(vcpu), 0x1004n);
});

test('a far return pops offset and selector, and releases its immediate', () => {
  const { vcpu } = ready(true);
  vcpu.memory.u8.set([0x48, 0xca, 0x10, 0x00], vcpu.memory.at(FRAME.userCode));
  const stack = vcpu.memory.at(FRAME.userStack);
  vcpu.memory.u64[stack / 8] = USER_CODE + 0x80n;
  vcpu.memory.u64[stack / 8 + 1] = 0x33n;
  vcpu.setReg64(GPR.rsp, USER_STACK);
  perform(vcpu, 'far_ret', { length: 4, size: 8, rexW: true });
  assert.equal(vcpu.rip, USER_CODE + 0x80n);
  assert.equal(vcpu.reg64(GPR.rsp), USER_STACK + 0x20n);
});

test('CLI, STI and ports follow the virtual I/O privilege level', () => {
  const rows = [
    { user: false, viopl: 0, ok: false },
    { user: false, viopl: 1, ok: true },
    { user: true, viopl: 2, ok: false },
    { user: true, viopl: 3, ok: true },
  ];
  for (const { user, viopl, ok } of rows) {
    const { vcpu } = ready(user);
    vcpu.viopl = viopl;
    vcpu.memory.u8.set([0xe4, 0x64], vcpu.memory.at(user ? FRAME.userCode : FRAME.text));
    const at = vcpu.rip;
    vcpu.setReg64(GPR.rax, 0x1234n);
    perform(vcpu, 'in');
    if (ok) assert.deepEqual([vcpu.rip, vcpu.reg64(GPR.rax)], [at + 2n, 0x12ffn]);
    else assert.equal(fault(vcpu), 13);
    if (ok) perform(vcpu, 'cli', { length: 1 });
    if (ok) assert.equal(vcpu.rip, at + 3n);
  }
});

test('the PCI address port is a latch, the timer reads zero, everything else all ones', () => {
  const { vcpu } = ready();
  vcpu.viopl = 1;
  poke(vcpu, TEXT, [0xef, 0xed, 0x66, 0xed, 0xec]); // out dx,eax · in eax,dx · in ax,dx · in al,dx
  vcpu.setReg64(GPR.rdx, 0xcf8n);
  vcpu.setReg64(GPR.rax, 0x80000000n);
  perform(vcpu, 'out', { length: 1 });
  vcpu.setReg64(GPR.rax, 5n);
  perform(vcpu, 'in', { length: 1 });
  assert.equal(vcpu.reg64(GPR.rax), 0x80000000n);
  vcpu.setReg64(GPR.rdx, 0x3f8n);
  perform(vcpu, 'in', { length: 2 });
  assert.equal(vcpu.reg64(GPR.rax), 0x8000ffffn);
  vcpu.setReg64(GPR.rdx, 0x42n);
  perform(vcpu, 'in', { length: 1 });
  assert.equal(vcpu.reg64(GPR.rax), 0x8000ff00n);
});

test('a repeated INS stops for the clock and goes on, and faults at the element that cannot be stored', () => {
  const { vcpu } = ready();
  vcpu.viopl = 1;
  poke(vcpu, TEXT, [0xf3, 0x6c]);
  vcpu.setReg64(GPR.rdi, va(510));
  vcpu.setReg64(GPR.rcx, 3000n);
  for (let i = 0; i < 3; i++) perform(vcpu, 'ins');
  assert.equal(vcpu.reg64(GPR.rcx), 0n);
  assert.equal(vcpu.rip, TEXT + 2n);
  assert.equal(vcpu.memory.u8[vcpu.memory.at(510) + 2999], 0xff);
  vcpu.rip = TEXT;
  vcpu.setReg64(GPR.rdi, va(511, 4094));
  vcpu.setReg64(GPR.rcx, 5n);
  perform(vcpu, 'ins');
  assert.equal(fault(vcpu), 14);
  assert.equal(vcpu.reg64(GPR.rcx), 3n);
});

test('LSL and LAR answer from the GDT, with ZF for whether there is something to answer', () => {
  const { vcpu, memory } = ready(true);
  setEntry(memory, FRAME.data, 15, 0x0040f5000000_1005n); // CPUNODE: limit carries CPU and node.
  vcpu.setReg64(GPR.rbx, 0x7bn);
  perform(vcpu, 'lsl', { reg: GPR.rax, rm: GPR.rbx, length: 3 });
  assert.equal(vcpu.reg64(GPR.rax), 0x1005n);
  assert.ok(vcpu.flags & RFLAGS.ZF);
  memory.u8.set([0x33, 0], memory.at(FRAME.userStack));
  perform(vcpu, 'lar', { reg: GPR.rax, address: USER_STACK, length: 3 });
  assert.equal(vcpu.reg64(GPR.rax), 0x00a0fb00n);
  vcpu.setReg64(GPR.rbx, 0x1003n);
  perform(vcpu, 'lsl', { reg: GPR.rax, rm: GPR.rbx, length: 3 });
  assert.equal(vcpu.flags & RFLAGS.ZF, 0);
  assert.equal(vcpu.reg64(GPR.rax), 0x00a0fb00n, 'unchanged');
  perform(vcpu, 'verw', { rm: GPR.rbx, length: 3 });
  assert.equal(vcpu.flags & RFLAGS.ZF, 0);
});

test('MOV to a segment register takes registers and memory; CS is #UD', () => {
  const { vcpu, memory } = ready(true);
  vcpu.setReg64(GPR.rax, 0x2bn);
  perform(vcpu, 'mov_to_seg', { reg: SEG.ds, rm: GPR.rax });
  assert.equal(vcpu.selector(SEG.ds), 0x2b);
  memory.u8.set([0x2b, 0], memory.at(FRAME.userStack));
  perform(vcpu, 'mov_to_seg', { reg: SEG.es, address: USER_STACK });
  assert.equal(vcpu.selector(SEG.es), 0x2b);
  perform(vcpu, 'mov_to_seg', { reg: SEG.cs, rm: GPR.rax });
  assert.equal(fault(vcpu), 6);
});

test('SMSW, STR and SGDT answer in user mode; into a read-only page they are page faults', () => {
  const { vcpu, memory } = ready(true);
  perform(vcpu, 'smsw', { rm: GPR.rax, size: 8 });
  assert.equal(vcpu.reg64(GPR.rax), 0x80050033n);
  perform(vcpu, 'sgdt', { address: USER_STACK + 4090n - 4096n + 4096n });
  assert.equal(fault(vcpu), 14, 'the second page is not mapped');
  assert.equal(memory.u16[(memory.at(FRAME.userStack) + 4090) / 2], 0, 'and nothing was stored');
  const again = ready(true).vcpu;
  perform(again, 'str', { address: USER_CODE });
  assert.equal(fault(again), 14);
  assert.equal(errorCode(again), 7n);
});

test('debug registers: set_debugreg’s rules hold for MOV DR, DR4 and DR5 alias until CR4.DE', () => {
  const { vcpu } = ready();
  perform(vcpu, 'mov_from_dr', { reg: 4, rm: GPR.rax });
  assert.equal(vcpu.reg64(GPR.rax), 0xffff0ff0n);
  vcpu.setReg64(GPR.rbx, 0x2400n);
  perform(vcpu, 'mov_to_dr', { reg: 7, rm: GPR.rbx });
  assert.equal(fault(vcpu), 13, 'general detect');
  const de = ready().vcpu;
  de.cr4 = 8;
  perform(de, 'mov_from_dr', { reg: 5, rm: GPR.rax });
  assert.equal(fault(de), 6);
});

test('extensions that are not announced are #UD', () => {
  for (const name of [
    'rdfsbase',
    'wrgsbase',
    'xgetbv',
    'xsetbv',
    'clac',
    'stac',
    'vmcall',
    'monitor',
    'mwait',
    'invpcid',
    'rsm',
  ] as const) {
    const { vcpu } = ready();
    perform(vcpu, name, { length: 3 });
    assert.equal(fault(vcpu), 6, name);
  }
});
