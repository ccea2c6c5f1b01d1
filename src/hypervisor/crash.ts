/**
 * The crash report: what a person needs to see why a domain could not go on. It is the main debugging tool for guests that
 * die before they have a console. Follows pv-abi 13, row 41.
 */
import { Exit, PRIVILEGED } from '../x86/exits.ts';
import { SEG, STATE } from '../x86/state.ts';
import { hypercallName } from './hypercall-names.ts';
import { PAGE_SIZE } from './memory.ts';
import { TraceKind } from './trace.ts';
import type { Vcpu } from './vcpu.ts';

const REGISTERS = [
  'rax',
  'rcx',
  'rdx',
  'rbx',
  'rsp',
  'rbp',
  'rsi',
  'rdi',
  'r8',
  'r9',
  'r10',
  'r11',
  'r12',
  'r13',
  'r14',
  'r15',
];
const CODE_BYTES = 32;
const STACK_WORDS = 16;

const hex = (value: bigint) => value.toString(16).padStart(16, '0');

/** Crash the domain with `reason`; returns false, so that a failing delivery can say `return crash(…)`. */
export function crash(vcpu: Vcpu, reason: string): false {
  vcpu.domain.crash(crashReport(vcpu, reason));
  return false;
}

/** The report's lines: first what happened, in one line. */
export function crashReport(vcpu: Vcpu, reason: string): string[] {
  const lines = [
    reason,
    `vCPU ${vcpu.id} in guest ${vcpu.kernelMode ? 'kernel' : 'user'} mode, rip ${hex(vcpu.rip)}, cr2 ${hex(vcpu.u64(STATE.cr2))}, rflags ${vcpu.flags.toString(16)}`,
    `cs ${vcpu.selector(SEG.cs).toString(16)} ss ${vcpu.selector(SEG.ss).toString(16)} ds ${vcpu.selector(SEG.ds).toString(16)} es ${vcpu.selector(SEG.es).toString(16)} fs ${vcpu.selector(SEG.fs).toString(16)} gs ${vcpu.selector(SEG.gs).toString(16)}, fs base ${hex(vcpu.u64(STATE.fsBase))}, gs base ${hex(vcpu.u64(STATE.gsBase))}`,
    `page-table roots: kernel ${root(vcpu.kernelRoot)}, user ${root(vcpu.userRoot)}; kernel stack ${hex((BigInt(vcpu.kernelSpHi) << 32n) | BigInt(vcpu.kernelSpLo))}; upcall mask ${vcpu.upcallMask}`,
  ];
  for (let i = 0; i < 16; i += 4) {
    lines.push(
      REGISTERS.slice(i, i + 4)
        .map((name, j) => `${name.padStart(3)} ${hex(vcpu.reg64(i + j))}`)
        .join('  '),
    );
  }
  lines.push(`code at rip: ${bytesAt(vcpu, vcpu.rip, CODE_BYTES)}`);
  lines.push(...stackLines(vcpu));
  const past = vcpu.trace.lines(traceName);
  if (past.length > 0)
    lines.push(
      'last hypercalls, exits and kernel entries, oldest first:',
      ...collapse(past).map((line) => `  ${line}`),
    );
  return lines;
}

/** A kernel that prints or waits fills the list with one line. */
function collapse(lines: readonly string[]): string[] {
  const out: { line: string; times: number }[] = [];
  for (const line of lines) {
    const last = out.at(-1);
    if (last?.line === line) last.times++;
    else out.push({ line, times: 1 });
  }
  return out.map(({ line, times }) => (times > 1 ? `${line}, ${times} times` : line));
}

function root(mfn: number): string {
  return mfn === 0xffff_ffff ? 'none' : `frame 0x${mfn.toString(16)}`;
}

/** Guest memory through the tables of the running mode, as far as it is mapped. */
export function peek(vcpu: Vcpu, va: bigint, length: number): Uint8Array {
  const table = vcpu.kernelMode ? vcpu.kernelRoot : vcpu.userRoot;
  const out = new Uint8Array(length);
  let done = 0;
  while (done < length) {
    const at = BigInt.asUintN(64, va + BigInt(done));
    const lo = Number(at & 0xffff_ffffn);
    const from = vcpu.walker.translate(table, lo, Number(at >> 32n), false);
    if (from === 0) break;
    const n = Math.min(length - done, PAGE_SIZE - (lo & 0xfff));
    out.set(vcpu.memory.u8.subarray(from, from + n), done);
    done += n;
  }
  return out.slice(0, done);
}

function bytesAt(vcpu: Vcpu, va: bigint, length: number): string {
  const bytes = peek(vcpu, va, length);
  return bytes.length === 0
    ? '(not mapped)'
    : Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join(' ');
}

function stackLines(vcpu: Vcpu): string[] {
  const rsp = vcpu.reg64(4);
  const bytes = peek(vcpu, rsp, STACK_WORDS * 8);
  if (bytes.length < 8) return [`stack at ${hex(rsp)}: (not mapped)`];
  const view = new DataView(bytes.buffer);
  const words: string[] = [];
  for (let i = 0; i + 8 <= bytes.length; i += 8) words.push(hex(view.getBigUint64(i, true)));
  const lines: string[] = [];
  for (let i = 0; i < words.length; i += 4)
    lines.push(`${i === 0 ? 'stack: ' : '       '}${words.slice(i, i + 4).join(' ')}`);
  return lines;
}

const EXIT_NAMES = new Map<number, string>(Object.entries(Exit).map(([name, code]) => [code, name]));

/** Exits are traced as kind, and for instructions and exceptions the detail in bits 8 and up. */
function traceName(kind: number, code: number): string {
  if (kind === TraceKind.hypercall) return hypercallName(code);
  if (kind === TraceKind.bounce)
    return code < 0x100 ? `vector ${code}` : ['event', 'failsafe', 'syscall', 'sysenter'][code & 3]!;
  const exit = code & 0xff;
  const detail = code >>> 8;
  if (exit === Exit.Instruction) return PRIVILEGED[detail] ?? `instruction ${detail}`;
  if (exit === Exit.Exception) return `exception ${detail}`;
  return EXIT_NAMES.get(exit) ?? `exit ${exit}`;
}
