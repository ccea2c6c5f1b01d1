/**
 * What the tests' kernels have in common: an entry that registers a trap handler for every vector, handlers that note what they
 * find on their stack, and ways into user mode and back. As text for the assembler; the macros below make more of it.
 *
 * A handler goes on at the address in `resume` if that is not 0 (a fault is expected, the test says where it goes on), in
 * kernel mode with an empty stack at the address in `escape` if that is not 0, and where it came from otherwise.
 */
import { HYPERCALL, SCHEDOP } from '../../src/abi/numbers.ts';

/** Vectors whose frames have an error code. */
const WITH_ERROR = new Set([8, 10, 11, 12, 13, 14, 17, 21]);
/** Recorded as vectors, behind the real ones. */
export const EVENT = 0x100;
export const SYSCALL = 0x101;
export const FAILSAFE = 0x102;
export const SYSENTER = 0x103;
const ENTRIES = 64;
const VECTORS = [...Array.from({ length: 32 }, (_, i) => i).filter((v) => v !== 15), 0x80, 0x81, 0x82];

const ARGUMENTS = ['rdi', 'rsi', 'rdx', 'r10', 'r8', 'r9'];

/** A hypercall; its result is in rax. Arguments are what `mov` takes. */
export function hypercall(name: keyof typeof HYPERCALL | number, ...args: (string | number | bigint)[]): string {
  const moves = args.map((arg, i) => `mov ${ARGUMENTS[i]}, ${arg}`);
  return `${moves.join('\n')}\nmov eax, ${typeof name === 'number' ? name : HYPERCALL[name]}\nsyscall\n`;
}

/** Keep rax in a word that the test reads. */
export const save = (name: string, register = 'rax') => `mov [out_${name}], ${register}\n`;

/** The end of a kernel: SHUTDOWN_poweroff, or another reason. */
export const shutdown = (reason = 0) => `
  mov dword [shutdown_reason], ${reason}
  ${hypercall('sched_op', SCHEDOP.shutdown, 'shutdown_reason')}
  ud2
`;

let unique = 0;
/** An instruction that is expected to fault; the kernel goes on behind it. In either mode. */
export function faulting(instruction: string): string {
  const label = `after_${++unique}`;
  return `mov qword [resume], ${label}\n${instruction}\n${label}: mov qword [resume], 0\n`;
}

/** Use the kernel's tables for user mode too. */
export const shareRoot = () => `
  mov dword [mmuext], 15
  mov qword [mmuext + 8], L4_PFN
  ${hypercall('mmuext_op', 'mmuext', 1, 0, 'DOMID_SELF')}
`;

/**
 * Run `code` in user mode; it ends with a system call, after which the kernel goes on. Registers are not kept. User mode has
 * the kernel's page tables unless the test has set others.
 */
export function inUser(code: string, { rflags = 0x202, cs = 0xe033, ss = 0xe02b } = {}): string {
  const user = `user_${++unique}`;
  return `
    mov qword [escape], ${user}_done
    push ${ss}
    mov rax, user_stack_top
    push rax
    push ${rflags}
    push ${cs}
    mov rax, ${user}
    push rax
    push 0
    push rcx
    push r11
    push rax
    mov eax, 23
    syscall
    ud2
  ${user}:
    ${code}
    syscall
    ud2
  ${user}_done:
    mov qword [escape], 0
  `;
}

/** Text for console_io. */
export function print(text: string): string {
  const label = `text_${++unique}`;
  return `jmp ${label}_end\n${label}: .ascii "${text}"\n${label}_end:\n${hypercall('console_io', 0, text.length, label)}`;
}

const stub = (vector: number) => `
  trap_${vector}:
    mov [trap_rax], rax
    mov eax, ${vector}
    jmp ${WITH_ERROR.has(vector) ? 'trap_error' : 'trap_plain'}
`;

const head = `
  mov rsp, stack_top
  mov qword [info], START_INFO_VA
  mov rax, VIRT_BASE
  ${hypercall('set_trap_table', 'trap_table')}
  ${hypercall('callback_op', 0, 'callback_event')}
  ${hypercall('callback_op', 0, 'callback_failsafe')}
  ${hypercall('callback_op', 0, 'callback_syscall')}
  ${hypercall('callback_op', 0, 'callback_sysenter')}
  # Shared_info at a page of our own.
  ${hypercall('update_va_mapping', 'shared_info', 'SHARED_INFO_MADDR + 0x23', 1)}
  ${hypercall('stack_switch', '0xe02b', 'stack_top')}
`;

const tail = `
  ud2
  ${VECTORS.map(stub).join('')}
  entry_event:
    mov [trap_rax], rax
    mov eax, ${EVENT}
    jmp trap_plain
  entry_failsafe:
    mov [trap_rax], rax
    mov eax, ${FAILSAFE}
    jmp trap_plain
  entry_syscall:
    mov [trap_rax], rax
    mov eax, ${SYSCALL}
    jmp trap_plain
  entry_sysenter:
    mov [trap_rax], rax
    mov eax, ${SYSENTER}
    jmp trap_plain

  # With an error code the frame is as it is noted; without, one is put in.
  trap_plain:
    mov [trap_frame], rsp
    mov rcx, [rsp]
    mov r11, [rsp + 8]
    add rsp, 16
    push 0
    push r11
    push rcx
    jmp trap_common
  trap_error:
    mov [trap_frame], rsp
  trap_common:
    push rbx
    push rdx
    mov rbx, [trap_count]
    cmp rbx, ${ENTRIES}
    jae trap_noted
    imul rbx, rbx, 96
    add rbx, trap_log
    mov [rbx], rax
    mov rdx, [rsp + 32]
    mov [rbx + 8], rdx
    mov rdx, [rsp + 16]
    mov [rbx + 16], rdx
    mov rdx, [rsp + 24]
    mov [rbx + 24], rdx
    mov rdx, [rsp + 40]
    mov [rbx + 32], rdx
    mov rdx, [rsp + 48]
    mov [rbx + 40], rdx
    mov rdx, [rsp + 56]
    mov [rbx + 48], rdx
    mov rdx, [rsp + 64]
    mov [rbx + 56], rdx
    mov rdx, [rsp + 72]
    mov [rbx + 64], rdx
    mov rdx, [vcpu_info]
    mov rdx, [rdx + 16]
    mov [rbx + 72], rdx
    mov rdx, [trap_frame]
    mov [rbx + 80], rdx
    mov rdx, [vcpu_info]
    movzx edx, byte [rdx + 1]
    mov [rbx + 88], rdx
    inc qword [trap_count]
  trap_noted:
    pop rdx
    pop rbx
    # Events go on where they came; the pending bit is the test's to look at.
    cmp eax, ${EVENT}
    jne trap_not_event
    push rdx
    mov rdx, [vcpu_info]
    mov byte [rdx], 0
    mov qword [rdx + 8], 0
    pop rdx
    inc qword [event_count]
    jmp trap_return
  trap_not_event:
    cmp qword [resume], 0
    je trap_no_resume
    mov rax, [resume]
    mov [rsp + 24], rax
    jmp trap_return
  trap_no_resume:
    cmp qword [escape], 0
    je trap_return
    mov rsp, stack_top
    jmp qword [escape]
  trap_return:
    pop rcx
    pop r11
    add rsp, 8
    push 0
    push rcx
    push r11
    push qword [trap_rax]
    mov eax, 23
    syscall
    ud2

  # Data is on pages of its own: a store to a page with code makes the engine drop the code.
  .align 4096
  trap_table:
  ${VECTORS.map((v) => `.byte ${v}, ${v === 3 || v === 4 || v >= 0x81 ? 3 : 0}\n.word 0xe033\n.long 0\n.quad trap_${v}`).join('\n')}
  .quad 0, 0
  callback_event:    .quad 0x10000, entry_event
  callback_failsafe: .quad 0x10001, entry_failsafe
  callback_syscall:  .quad 0x10002, entry_syscall
  callback_sysenter: .quad 0x10005, entry_sysenter
  trap_rax:    .quad 0
  trap_frame:  .quad 0
  trap_count:  .quad 0
  event_count: .quad 0
  resume:      .quad 0
  escape:      .quad 0
  info:        .quad 0
  vcpu_info:   .quad shared_info
  shutdown_reason: .quad 0
  mmuext:      .quad 0, 0, 0
  request:     .quad 0, 0, 0, 0, 0, 0, 0, 0
  trap_log:    .zero ${ENTRIES * 96}
  .align 16
  .zero 8192
  stack_top:
  .zero 4096
  user_stack_top:
  .align 4096
  shared_info: .zero 4096
`;

export const runtime = { head, tail };
