/**
 * The machine code of the oracle: enter a guest state, and get out again through a signal handler.
 *
 * It lives at fixed addresses below 2 GiB, so that everything is reached by an absolute 32-bit displacement and no register
 * is needed for an address while the guest's registers are loaded or saved. System V calling convention; Linux's signal frame
 * (ucontext) for x86-64. Instruction notation as in the SDM, volume 2.
 */

/** One page of code. */
export const STUB = 0x7b3d_5000;
/** One page of data, in the layout below. */
export const SHARED = 0x7b3e_6000;
export const SIGNAL_STACK = 0x7b40_7000;
export const SIGNAL_STACK_SIZE = 0x10000;
/** Where JavaScript writes the code and data pages that the guest sees elsewhere. */
export const CODE_ALIAS = 0x7b42_9000;
export const DATA_ALIAS = 0x7b43_d000;

/** Offsets in the shared page. The first part has the offsets of a case (CASE in layout.ts). */
export const S = {
  gpr: 0x000,
  rip: 0x080,
  rflags: 0x088,
  fsBase: 0x090,
  gsBase: 0x098,
  guestFx: 0x100,
  hostFx: 0x300,
  hostRsp: 0x500,
  hostFs: 0x508,
  hostGs: 0x510,
  /** Syscall user dispatch: 0 lets system calls through, 1 turns them into SIGSYS. */
  selector: 0x518,
  /** The signal's machine context: r8–r15 rdi rsi rbp rbx rdx rax rcx rsp rip rflags segments err trapno mask cr2. */
  context: 0x600,
  signal: 0x6c0,
  resultFx: 0x700,
} as const;

/** Position of each general register (encoding order) in the machine context, in quadwords. */
export const CONTEXT_GPR = [13, 14, 12, 11, 15, 10, 9, 8, 0, 1, 2, 3, 4, 5, 6, 7] as const;
export const CONTEXT = { rip: 16, rflags: 17, error: 19, trap: 20, cr2: 22 } as const;

const le32 = (value: number): number[] => [
  value & 255,
  (value >>> 8) & 255,
  (value >>> 16) & 255,
  (value >>> 24) & 255,
];
/** ModRM.rm 100, SIB 25, disp32: an absolute address; `reg` is ModRM.reg. */
const absolute = (reg: number, address: number): number[] => [0x04 | (reg << 3), 0x25, ...le32(address)];
const rax = 0;
const rsp = 4;
/** mov r64, [address] */
const load = (reg: number, address: number): number[] => [reg > 7 ? 0x4c : 0x48, 0x8b, ...absolute(reg & 7, address)];
/** mov [address], r64 */
const store = (reg: number, address: number): number[] => [0x48, 0x89, ...absolute(reg, address)];
const setSelector = (value: number): number[] => [0xc6, ...absolute(0, SHARED + S.selector), value]; // mov byte [selector], value

/** `void run(void)`: save the host's state, load the guest's, jump to it. It returns when a signal ended the guest. */
const ENTER: number[][] = [
  [0x53, 0x55, 0x41, 0x54, 0x41, 0x55, 0x41, 0x56, 0x41, 0x57], // push rbx; rbp; r12; r13; r14; r15
  [0x9c], //                                                       pushfq
  store(rsp, SHARED + S.hostRsp),
  [0x48, 0x0f, 0xae, ...absolute(0, SHARED + S.hostFx)], //        fxsave64 [hostFx]
  [0xf3, 0x48, 0x0f, 0xae, 0xc0], //                               rdfsbase rax
  store(rax, SHARED + S.hostFs),
  [0xf3, 0x48, 0x0f, 0xae, 0xc8], //                               rdgsbase rax
  store(rax, SHARED + S.hostGs),
  setSelector(1),
  [0x48, 0x0f, 0xae, ...absolute(1, SHARED + S.guestFx)], //       fxrstor64 [guestFx]
  load(rax, SHARED + S.fsBase),
  [0xf3, 0x48, 0x0f, 0xae, 0xd0], //                               wrfsbase rax
  load(rax, SHARED + S.gsBase),
  [0xf3, 0x48, 0x0f, 0xae, 0xd8], //                               wrgsbase rax
  [0xff, ...absolute(6, SHARED + S.rflags)], //                    push qword [rflags]
  [0x9d], //                                                       popfq: only moves from here on
  ...Array.from({ length: 16 }, (_, reg) => load(reg, SHARED + S.gpr + 8 * reg)),
  [0xff, ...absolute(4, SHARED + S.rip)], //                       jmp qword [rip]
];

/** The signal handler (edi: signal, rdx: ucontext), on the alternate stack; TLS is the guest's, so no library call here. */
const HANDLER: number[][] = [
  setSelector(0),
  [0x89, 0x3c, 0x25, ...le32(SHARED + S.signal)], //      mov [signal], edi
  [0x48, 0x8d, 0x72, 0x28], //                            lea rsi, [rdx+40]: the machine context
  [0xbf, ...le32(SHARED + S.context)], //                 mov edi, context
  [0xb9, ...le32(23)], //                                 mov ecx, 23
  [0xf3, 0x48, 0xa5], //                                  rep movsq
  [0x48, 0x8b, 0xb2, ...le32(224)], //                    mov rsi, [rdx+224]: the FXSAVE image
  [0xbf, ...le32(SHARED + S.resultFx)], //                mov edi, resultFx
  [0xb9, ...le32(64)], //                                 mov ecx, 64
  [0xf3, 0x48, 0xa5], //                                  rep movsq
];
/** Make sigreturn continue at `exit` on the host's stack with plain flags. */
const redirect = (exit: number): number[][] => [
  [0xb8, ...le32(exit)], //                               mov eax, exit
  [0x48, 0x89, 0x82, ...le32(168)], //                    mov [rdx+168], rax: rip
  load(rax, SHARED + S.hostRsp),
  [0x48, 0x89, 0x82, ...le32(160)], //                    mov [rdx+160], rax: rsp
  [0x48, 0xc7, 0x82, ...le32(176), ...le32(0x202)], //    mov qword [rdx+176], 0x202: rflags
  [0xc3], //                                              ret, to RESTORER
];
const RESTORER: number[][] = [
  [0xb8, ...le32(15)], // mov eax, 15: rt_sigreturn
  [0x0f, 0x05], //        syscall
];
const EXIT: number[][] = [
  load(rax, SHARED + S.hostFs),
  [0xf3, 0x48, 0x0f, 0xae, 0xd0], //                       wrfsbase rax
  load(rax, SHARED + S.hostGs),
  [0xf3, 0x48, 0x0f, 0xae, 0xd8], //                       wrgsbase rax
  [0x48, 0x0f, 0xae, ...absolute(1, SHARED + S.hostFx)], // fxrstor64 [hostFx]
  [0x9d], //                                               popfq
  [0x41, 0x5f, 0x41, 0x5e, 0x41, 0x5d, 0x41, 0x5c, 0x5d, 0x5b], // pop r15; r14; r13; r12; rbp; rbx
  [0xc3], //                                               ret
];

export interface Stub {
  readonly code: Uint8Array;
  /** Addresses of the entry points. */
  readonly enter: number;
  readonly handler: number;
  readonly restorer: number;
}

export function assembleStub(): Stub {
  const enter = STUB;
  const exit = enter + 0x200;
  const restorer = enter + 0x280;
  const handler = enter + 0x300;
  const code = new Uint8Array(0x400).fill(0xcc);
  code.set(ENTER.flat(), enter - STUB);
  code.set(EXIT.flat(), exit - STUB);
  code.set(RESTORER.flat(), restorer - STUB);
  code.set([...HANDLER, ...redirect(exit)].flat(), handler - STUB);
  return { code, enter, handler, restorer };
}
