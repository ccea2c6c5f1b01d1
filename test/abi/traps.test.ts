/**
 * Entering and leaving the guest kernel as a kernel sees it: bounce frames, page faults, software interrupts, system calls, the
 * iret hypercall, privilege. pv-abi 3.1 to 3.8; the XTF tests of the same names in 12.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RFLAGS } from '../../src/x86/state.ts';
import { Machine } from './machine.ts';
import { only, onBothTiers as onTiers } from './on-both-tiers.ts';
import { faulting, hypercall, inUser, SYSCALL, SYSENTER, save, shareRoot, shutdown } from './runtime.ts';

const KERNEL_CS = 0xe030n;
const USER_CS = 0xe033n;
const SS = 0xe02bn;
/** For kernels that look at page-table entries: the entry of `label`, which is in the first 2 MiB, in rbx. */
const entryOf = (label: string) => `
  mov rbx, ${label}
  shr rbx, 9
  and rbx, 0xff8
  add rbx, L1_VA
`;
const store = (label: string, value: string) => hypercall('update_va_mapping', label, value, 2);

// Frames. --------------------------------------------------------------------------------------------------------------

/** Where events and faults interrupt a kernel is what stress is for. */
const onBothTiers: typeof onTiers = (name, source, check, options = {}) =>
  onTiers(name, source, check, { ...options, stress: true });

onBothTiers(
  'a fault with an error code pushes eight words on the 16-aligned stack of the kernel',
  `
    mov rcx, 0x1111
    mov r11, 0x2222
    sub rsp, 40
    mov [out_rsp], rsp
    mov qword [resume], after
    stc
    std
    here: mov rax, [0x10]
    after: mov qword [resume], 0
    pushf
    pop qword [out_flags]
    cld
    mov [out_after], rsp
  `,
  (m) => {
    const trap = only(m);
    assert.equal(trap.vector, 14);
    assert.equal(trap.rcx, 0x1111n);
    assert.equal(trap.r11, 0x2222n);
    assert.equal(trap.rip, m.address('here'));
    assert.equal(trap.cs, KERNEL_CS | (1n << 32n), 'RPL 0 for kernel mode, and the upcall mask as it was');
    assert.equal(trap.ss, SS);
    assert.equal(trap.rsp, m.u64('out_rsp'));
    assert.equal(trap.frame, (m.u64('out_rsp') & ~15n) - 64n);
    assert.equal(trap.rflags & BigInt(RFLAGS.IF), 0n, 'IF shows the upcall mask');
    assert.equal(trap.rflags & BigInt(RFLAGS.IOPL), 0n);
    assert.equal(trap.rflags & BigInt(RFLAGS.CF | RFLAGS.DF), BigInt(RFLAGS.CF | RFLAGS.DF));
    assert.equal(m.u64('out_after'), m.u64('out_rsp'));
    assert.equal(
      m.u64('out_flags') & BigInt(RFLAGS.CF | RFLAGS.DF | RFLAGS.IF),
      BigInt(RFLAGS.CF | RFLAGS.DF | RFLAGS.IF),
    );
  },
);

onBothTiers(
  'a fault without an error code pushes seven words',
  `
    mov [out_rsp], rsp
    ${faulting('here: ud2')}
  `,
  (m) => {
    const trap = only(m);
    assert.equal(trap.vector, 6);
    assert.equal(trap.rip, m.address('here'));
    assert.equal(trap.frame, (m.u64('out_rsp') & ~15n) - 56n);
  },
);

onBothTiers(
  'a fault in user mode is taken on the stack that stack_switch named, with RPL 3 and bit U',
  `
    ${shareRoot()}
    ${hypercall('stack_switch', '0xe02b', 'other_stack_top - 8')}
    ${inUser('here: mov rax, [0x2000]')}
    jmp over
    .align 16
    .zero 512
    other_stack_top:
    over:
  `,
  (m) => {
    const trap = only(m);
    assert.equal(trap.vector, 14);
    assert.equal(trap.error, 4n);
    assert.equal(trap.cr2, 0x2000n);
    assert.equal(trap.cs, USER_CS);
    assert.equal(trap.rsp, m.address('user_stack_top'));
    assert.equal(trap.frame, m.address('other_stack_top') - 16n - 64n);
  },
);

for (const [name, bits] of [
  ['TF', RFLAGS.TF],
  ['NT', RFLAGS.NT],
  ['AC', RFLAGS.AC],
] as const) {
  onBothTiers(
    `entering the kernel clears ${name}, which the frame shows`,
    `
      mov qword [escape], after
      pushf
      or qword [rsp], ${bits}
      popf
      here: ud2
      after: pushf
      pop qword [out_flags]
      mov qword [escape], 0
    `,
    (m) => {
      // The trap flag takes effect behind the instruction after popf, which faults first.
      const trap = only(m);
      assert.equal(trap.vector, 6);
      assert.equal(trap.rflags & BigInt(bits), BigInt(bits));
      assert.equal(m.u64('out_flags') & BigInt(bits), 0n);
    },
  );
}

onBothTiers(
  'a single step ends behind each instruction, and DR6 says so',
  `
    pushf
    or qword [rsp], ${RFLAGS.TF}
    popf
    one: nop
    two: nop
    and qword [escape], 0
    push 0x202
    popf
    three: nop
    mov rax, dr6
    ${save('dr6')}
  `,
  (m) => {
    const traps = m.traps();
    assert.ok(traps.length >= 4 && traps.every(({ vector }) => vector === 1));
    assert.deepEqual(
      traps.slice(0, 2).map(({ rip }) => rip),
      [m.address('one') + 1n, m.address('two') + 1n],
    );
    assert.ok(traps.every(({ rip }) => rip <= m.address('three')));
    assert.equal(m.u64('out_dr6') & 0x4000n, 0x4000n);
  },
);

// Page faults. ---------------------------------------------------------------------------------------------------------

onBothTiers(
  'page-fault error codes tell present, write, user and fetch apart, and CR2 the first byte that faults',
  `
    ${shareRoot()}
    ${entryOf('read_only')}
    mov rdx, [rbx]
    and rdx, -3
    ${store('read_only', 'rdx')}
    ${entryOf('no_execute')}
    mov rdx, [rbx]
    mov rax, 0x8000000000000000
    or rdx, rax
    ${store('no_execute', 'rdx')}
    ${entryOf('absent')}
    ${store('absent', '0')}
    ${faulting('mov rax, [absent]')}
    ${faulting('mov [absent + 5], al')}
    ${faulting('mov [read_only], al')}
    mov rax, absent
    ${faulting('jmp rax')}
    mov rax, no_execute
    ${faulting('jmp rax')}
    ${faulting('mov rax, [absent - 4]')}
    ${faulting('mov [read_only + 4092], rax')}
    ${inUser('mov rax, [absent]')}
    ${inUser('mov [read_only], al')}
    ${inUser('mov rax, no_execute\njmp rax')}
    ${faulting('mov rax, [no_execute]')}
    mov rax, 0xffff900000000000
    ${faulting('mov rax, [rax]')}
    jmp over
    .align 4096
    .zero 4096
    absent: .zero 4096
    read_only: .zero 4096
    no_execute: .byte 0xc3
    .align 4096
    over:
  `,
  (m) => {
    const seen = m.traps().map(({ vector, error, cr2 }) => [vector, Number(error), cr2]);
    const [absent, readOnly, noExecute] = ['absent', 'read_only', 'no_execute'].map((name) => m.address(name)) as [
      bigint,
      bigint,
      bigint,
    ];
    assert.deepEqual(seen, [
      [14, 0, absent],
      [14, 2, absent + 5n],
      [14, 3, readOnly],
      [14, 0x10, absent],
      [14, 0x11, noExecute],
      [14, 0, absent],
      // The second page of the store is writable, the first is not.
      [14, 3, readOnly + 4092n],
      [14, 4, absent],
      [14, 7, readOnly],
      [14, 0x15, noExecute],
      [14, 0, 0xffff900000000000n],
    ]);
  },
);

onBothTiers(
  'the accessed and dirty bits are set by reads and writes, also those of hypercalls',
  `
    ${entryOf('page')}
    mov rdx, [rbx]
    and rdx, -0x61
    ${store('page', 'rdx')}
    mov rax, [rbx]
    ${save('before')}
    mov rcx, [page]
    mov rax, [rbx]
    ${save('read')}
    mov [page], cl
    mov rax, [rbx]
    ${save('written')}
    mov rdx, [rbx]
    and rdx, -0x61
    ${store('page', 'rdx')}
    ${hypercall('xen_version', 1, 'page')}
    mov rax, [rbx]
    ${save('hypercall')}
    jmp over
    .align 4096
    page: .zero 4096
    over:
  `,
  (m) => {
    const bits = (name: string) => Number(m.u64(name) & 0x60n);
    assert.deepEqual(['out_before', 'out_read', 'out_written', 'out_hypercall'].map(bits), [0, 0x20, 0x60, 0x60]);
    assert.deepEqual(m.traps(), []);
  },
);

onBothTiers(
  'bit U of page-table entries does not matter, in neither mode',
  `
    ${shareRoot()}
    ${entryOf('page')}
    mov rdx, [rbx]
    and rdx, -5
    ${store('page', 'rdx')}
    mov rax, [page]
    ${inUser('mov rax, [page]\nmov [page + 8], rax')}
    jmp over
    .align 4096
    page: .quad 5, 6
    .align 4096
    over:
  `,
  (m) => {
    assert.equal(only(m).vector, SYSCALL);
    assert.equal(m.u64('page', 1), 5n);
  },
);

onBothTiers(
  'CR2 goes into the vcpu_info that was registered, and mov from CR2 reads it',
  `
    mov rax, registered
    shr rax, 12
    and rax, 0x7ffff
    mov [request], rax
    mov dword [request + 8], 0x40
    ${hypercall('vcpu_op', 10, 0, 'request')}
    ${save('result')}
    ${hypercall('vcpu_op', 10, 0, 'request')}
    ${save('again')}
    mov qword [vcpu_info], registered + 0x40
    ${faulting('mov rax, [0x30]')}
    mov rax, cr2
    ${save('cr2')}
    jmp over
    .align 4096
    registered: .zero 4096
    over:
  `,
  (m) => {
    assert.equal(m.s64('out_result'), 0);
    assert.equal(m.s64('out_again'), -16, 'once only');
    assert.equal(only(m).cr2, 0x30n);
    assert.equal(m.u64('registered', 8 + 2), 0x30n);
    assert.equal(m.u64('out_cr2'), 0x30n);
  },
);

onBothTiers(
  'an address that is not canonical raises #GP(0), relative to rsp or rbp #SS(0), with and without a segment base',
  `
    mov rbx, 0x0000800000000000
    mov rbp, rbx
    ${faulting('mov rax, [rbx]')}
    ${faulting('mov rax, [rbp]')}
    ${faulting('mov [rbx - 4], rax')}
    mov rdx, rsp
    mov rsp, rbx
    ${'mov qword [resume], pushed\nmov rsp, rdx'}
    pushed: mov qword [resume], 0
    ${hypercall('set_segment_base', 0, 0x1000)}
    mov rbx, 0x00007ffffffff800
    ${faulting('mov rax, [fs:rbx]')}
    ${hypercall('set_segment_base', 0, '0x0000800000000000')}
    ${save('base')}
  `,
  (m) => {
    assert.deepEqual(
      m.traps().map(({ vector, error }) => [vector, Number(error)]),
      [
        [13, 0],
        [12, 0],
        [13, 0],
        [13, 0],
      ],
    );
    assert.equal(m.s64('out_base'), -22);
  },
);

// Software interrupts. -------------------------------------------------------------------------------------------------

onBothTiers(
  'int n from the kernel needs a gate of level 1, from user mode one of level 3',
  `
    ${shareRoot()}
    int 0x81
    k1:
    int3
    k2:
    ${faulting('k3: int 0x20')}
    ${inUser('int 0x81\nu1: int3\nu2: int 0x80\nu3:')}
  `,
  (m) => {
    const seen = m.traps().map(({ vector, error, rip }) => [vector, Number(error), rip]);
    assert.deepEqual(seen.slice(0, 3), [
      [0x81, 0, m.address('k1')],
      [3, 0, m.address('k2')],
      [13, (0x20 << 3) | 2, m.address('k3')],
    ]);
    // In user mode each of these leaves for the kernel at once: the first of them does.
    assert.deepEqual(seen[3], [0x81, 0, m.address('u1')]);
  },
);

onBothTiers(
  'xsa-259: int 0x80 without a handler is #GP with the vector in its error code, at the instruction',
  `
    ${shareRoot()}
    ${hypercall('set_trap_table', 0)}
    ${hypercall('set_trap_table', 'few')}
    ${faulting('kernel: int 0x80')}
    ${inUser('user: int 0x80')}
    jmp over
    few: .byte 13, 0
    .word 0xe033
    .long 0
    .quad trap_13, 0, 0
    over:
  `,
  (m) => {
    assert.deepEqual(
      m.traps().map(({ vector, error, rip }) => [vector, Number(error), rip]),
      [
        [13, 0x402, m.address('kernel')],
        [13, 0x402, m.address('user')],
      ],
    );
  },
);

onBothTiers(
  'int 0x80 of user mode enters its handler whatever the gate’s level, with RIP behind it',
  `
    ${shareRoot()}
    ${inUser('mov rcx, 77\nint 0x80\nbehind:')}
  `,
  (m) => {
    const trap = only(m);
    assert.equal(trap.vector, 0x80);
    assert.equal(trap.rip, m.address('behind'));
    assert.equal(trap.rcx, 77n);
    assert.equal(trap.cs, USER_CS);
  },
);

// System calls. --------------------------------------------------------------------------------------------------------

onBothTiers(
  'a system call of user mode bounces to the callback with RCX and R11 as SYSCALL leaves them, and DF clear',
  `
    ${shareRoot()}
    mov dword [callback_syscall], 0x10002
    ${inUser('std\nmov rcx, 1\nmov r11, 2\nsyscall\nbehind:')}
    pushf
    pop rax
    cld
    ${save('flags')}
  `,
  (m) => {
    const trap = only(m);
    assert.equal(trap.vector, SYSCALL);
    assert.equal(trap.rip, m.address('behind'));
    assert.equal(trap.rcx, m.address('behind'));
    assert.equal(trap.r11 & 0x400n, 0x400n, 'the user’s flags');
    assert.equal(trap.rflags & 0x400n, 0x400n);
    assert.equal(trap.cs, USER_CS);
    assert.equal(trap.ss, SS);
    assert.equal(trap.mask, 1, 'the callback asked for it');
    assert.equal(m.u64('out_flags') & 0x400n, 0n, 'but not for the handler');
  },
);

onBothTiers(
  'without a callback, SYSCALL in user mode is #UD at the instruction',
  `
    ${shareRoot()}
    mov qword [none + 8], 0
    ${hypercall('callback_op', 0, 'none')}
    ${inUser('here:')}
    jmp over
    none: .quad 2, 0
    over:
  `,
  (m) => {
    const trap = only(m);
    assert.equal(trap.vector, 6);
    assert.equal(trap.rip, m.address('here'));
  },
);

onBothTiers(
  'xsa-339: SYSENTER from user mode with NT set shows neither return address nor stack, and nothing hangs',
  `
    ${shareRoot()}
    ${inUser('sysenter', { rflags: 0x4202 })}
    ${hypercall('callback_op', 0, 'no_sysenter')}
    ${inUser('here: sysenter')}
    jmp over
    no_sysenter: .quad 5, 0
    over:
  `,
  (m) => {
    const [entry, fault] = m.traps();
    assert.equal(entry!.vector, SYSENTER);
    assert.deepEqual([entry!.rip, entry!.rsp, entry!.cs & 0xffffn], [0n, 0n, 3n]);
    assert.deepEqual([fault!.vector, fault!.error, fault!.rip], [13, 0n, m.address('here')]);
  },
);

onBothTiers(
  'xsa-7: a SYSCALL that ends at the canonical boundary returns to a non-canonical address, and that is #GP there',
  `
    ${shareRoot()}
    # Map the page below 0x0000800000000000: L4 slot 255 leads to tables of our own.
    ${['l3', 'l2', 'l1'].map((t) => `mov rax, my_${t}\nsub rax, VIRT_BASE\nmov [maddr_${t}], rax`).join('\n')}
    mov rax, code
    sub rax, VIRT_BASE
    mov rbx, [maddr_l1]
    ${put('my_l1', 511, 'rax')}
    ${put('my_l2', 511, '[maddr_l1]')}
    ${put('my_l3', 511, '[maddr_l2]')}
    mov qword [request], L4_MADDR + 2040
    mov rax, [maddr_l3]
    add rax, 0x67
    mov [request + 8], rax
    ${hypercall('mmu_update', 'request', 1, 0, 'DOMID_SELF')}
    ${save('linked')}
    # A hypercall from there, in kernel mode.
    mov qword [escape], back
    mov rbx, 0x00007ffffffffffe
    mov edi, 0
    mov eax, 17
    jmp rbx
    back: mov qword [escape], 0
    jmp over
    maddr_l3: .quad 0
    maddr_l2: .quad 0
    maddr_l1: .quad 0
    .align 4096
    my_l3: .zero 4096
    my_l2: .zero 4096
    my_l1: .zero 4096
    code: .zero 4094
    .byte 0x0f, 0x05
    over:
  `,
  (m) => {
    assert.equal(m.s64('out_linked'), 0);
    const trap = only(m);
    assert.equal(trap.vector, 13);
    assert.equal(trap.rip, 0x0000800000000000n);
  },
);

/** A plain store into a table that is not typed yet. */
function put(table: string, index: number, maddr: string): string {
  return `mov rdx, ${maddr}\nor rdx, 0x67\nmov [${table} + ${index * 8}], rdx\n`;
}

// The iret hypercall. --------------------------------------------------------------------------------------------------

const iretFrame = (rip: string, cs: number, rflags: number, rsp: string, ss: number, flags = 0) => `
  push ${ss}
  mov rax, ${rsp}
  push rax
  push ${rflags}
  push ${cs}
  mov rax, ${rip}
  push rax
  push ${flags}
  push 0x1234
  push 0x5678
  push 0x9abc
  mov eax, 23
  syscall
`;

onBothTiers(
  'iret within the kernel takes every register of the frame and the upcall mask from IF',
  `
    mov [out_rsp], rsp
    ${iretFrame('there', 0xe030, 0x246, 'stack_top - 256', 0xe02b)}
    ud2
    there:
    mov [out_rcx], rcx
    mov [out_r11], r11
    mov [out_rax], rax
    mov [out_sp], rsp
    movzx eax, byte [shared_info + 1]
    mov [out_mask], rax
    mov rsp, stack_top
    ${iretFrame('masked', 0xe030, 0x46, 'stack_top', 0)}
    ud2
    masked:
    movzx eax, byte [shared_info + 1]
    mov [out_masked], rax
    mov ax, ss
    mov [out_ss], ax
    ${iretFrame('fast', 0xe030, 0x203, 'stack_top', 0xe02b, 0x100)}
    ud2
    fast:
    mov [out_fast_rcx], rcx
    mov [out_fast_r11], r11
  `,
  (m) => {
    assert.deepEqual(m.traps(), []);
    assert.equal(m.u64('out_rcx'), 0x1234n);
    assert.equal(m.u64('out_r11'), 0x5678n);
    assert.equal(m.u64('out_rax'), 0x9abcn);
    assert.equal(m.u64('out_sp'), m.address('stack_top') - 256n);
    assert.equal(m.u64('out_mask'), 0n);
    assert.equal(m.u64('out_masked'), 1n);
    assert.equal(m.u64('out_ss'), 3n, 'a null selector is accepted in kernel mode');
    assert.equal(m.u64('out_fast_rcx'), m.address('fast'));
    assert.equal(m.u64('out_fast_r11') & 0x203n, 0x203n);
  },
);

onBothTiers(
  'iret to code that does not exist is one #GP, with the frame’s RIP, in the new mode',
  `
    ${shareRoot()}
    mov qword [escape], one
    ${iretFrame('0x0000800000000000', 0xe033, 0x202, 'stack_top', 0xe02b)}
    one: mov qword [escape], two
    ${iretFrame('0x12345', 0x1003, 0x202, 'stack_top', 0xe02b)}
    two: mov qword [escape], three
    ${iretFrame('0x23456', 0xe023, 0x202, 'user_stack_top', 0xe02b)}
    three: mov qword [escape], four
    ${iretFrame('0x34567', 0xe033, 0x202, 'user_stack_top', 0x2003)}
    four: mov qword [escape], 0
  `,
  (m) => {
    assert.deepEqual(
      m.traps().map(({ vector, error, rip, cs }) => [vector, Number(error), rip, cs & 3n]),
      [
        [13, 0, 0x0000800000000000n, 3n],
        [13, 0x1000, 0x12345n, 3n],
        // 32-bit code: there is none here, so the program dies, once.
        [13, 0xe020, 0x23456n, 3n],
        [13, 0x2000, 0x34567n, 3n],
      ],
    );
  },
);

test('iret to user mode without a user page table, or from a stack that cannot be read, crashes the domain', () => {
  for (const [source, reason] of [
    [iretFrame('0x1000', 0xe033, 0x202, 'user_stack_top', 0xe02b), /no user page table/],
    ['mov rsp, 0x5000\nmov eax, 23\nsyscall', /cannot be read/],
  ] as const) {
    // RPL 3 and kernel mode differ by the frame's CS alone.
    const m = new Machine(`${source}\n${shutdown()}`);
    const outcome = m.run();
    assert.equal(outcome.kind, 'crashed');
    assert.match(outcome.kind === 'crashed' ? outcome.report[0]! : '', reason);
    m.checkCanaries();
  }
});

onBothTiers(
  'user mode and kernel mode have their own GS base and page tables',
  `
    # A user root that maps nothing of the first half but our own kernel slots.
    mov rsi, L4_VA
    mov rdi, user_root
    mov ecx, 512
    rep movsq
    ${hypercall('update_va_mapping', 'user_root', '[user_root_entry]', 2)}
    mov dword [mmuext], 15
    mov rax, user_root
    sub rax, VIRT_BASE
    shr rax, 12
    mov [mmuext + 8], rax
    ${hypercall('mmuext_op', 'mmuext', 1, 0, 'DOMID_SELF')}
    ${save('root')}
    ${hypercall('set_segment_base', 2, 'words')}
    ${hypercall('set_segment_base', 1, 'words + 8')}
    mov rax, [gs:0]
    ${save('kernel')}
    ${inUser('mov rbx, [gs:0]\nmov [out_user], rbx')}
    mov rax, [gs:0]
    ${save('back')}
    jmp over
    words: .quad 1, 2
    user_root_entry: .quad 0
    .align 4096
    user_root: .zero 4096
    over:
  `,
  (m) => {
    assert.equal(m.s64('out_root'), 0);
    assert.deepEqual(
      ['out_kernel', 'out_user', 'out_back'].map((name) => m.u64(name)),
      [1n, 2n, 1n],
    );
  },
);

// Privilege. -----------------------------------------------------------------------------------------------------------

onBothTiers(
  'pv-iopl by hypercall: the kernel may use cli and ports from level 1 on, user mode from level 3 on',
  `
    ${shareRoot()}
    ${[0, 1, 2, 3]
      .map(
        (level) => `
      mov dword [request], ${level}
      ${hypercall('physdev_op', 6, 'request')}
      mov qword [out_level${level}], rax
      mov rax, [trap_count]
      mov [out_before${level}], rax
      ${faulting('cli')}
      ${faulting('mov dx, 0x80\nout dx, al')}
      mov rax, [trap_count]
      mov [out_kernel${level}], rax
      ${inUser('cli')}
      ${inUser('mov dx, 0x80\nout dx, al')}
    `,
      )
      .join('')}
    mov dword [request], 4
    ${hypercall('physdev_op', 6, 'request')}
    ${save('four')}
  `,
  (m) => {
    const seen = m
      .traps()
      .map(
        ({ vector, cs }) =>
          `${vector === 13 ? 'GP' : vector === SYSCALL ? 'ok' : vector} ${cs & 3n ? 'user' : 'kernel'}`,
      );
    const refused = ['GP user', 'GP user'];
    assert.deepEqual(seen, ['GP kernel', 'GP kernel', ...refused, ...refused, ...refused, 'ok user', 'ok user']);
    assert.equal(m.s64('out_four'), -22);
  },
);

onBothTiers(
  'pv-iopl by vm_assist: the kernel never faults, user mode only with IOPL 3, which frames then show',
  `
    ${shareRoot()}
    ${hypercall('vm_assist', 0, 4)}
    ${save('assist')}
    ${faulting('cli')}
    ${inUser('here: cli')}
    ${inUser('cli', { rflags: 0x3202 })}
  `,
  (m) => {
    assert.equal(m.s64('out_assist'), 0);
    const [refused, allowed] = m.traps();
    assert.equal(m.traps().length, 2);
    assert.deepEqual([refused!.vector, refused!.rip], [13, m.address('here')]);
    assert.equal(allowed!.vector, SYSCALL);
    assert.equal(allowed!.rflags & 0x3000n, 0x3000n);
  },
);

onBothTiers(
  'xsa-193: WRMSR of a non-canonical segment base is #GP, also of the inactive one',
  `
    mov eax, 0
    mov edx, 0x8000
    mov ecx, 0xc0000100
    ${faulting('wrmsr')}
    mov ecx, 0xc0000101
    ${faulting('wrmsr')}
    mov ecx, 0xc0000102
    ${faulting('wrmsr')}
    mov edx, 0x7fff
    ${faulting('wrmsr')}
  `,
  (m) =>
    assert.deepEqual(
      m.traps().map(({ vector, error }) => [vector, error]),
      [13, 13, 13].map((v) => [v, 0n]),
    ),
);

onBothTiers(
  'xsa-333 and msr: reading any MSR of the common ranges gives a value or #GP',
  `
    mov ebx, 0
    again:
    mov ecx, ebx
    ${faulting('rdmsr')}
    inc ebx
    cmp ebx, 0x200
    jb again
    mov ecx, 0x1a0
    mov qword [trap_count], 0
    ${faulting('rdmsr')}
    ${save('misc')}
  `,
  (m) => {
    assert.deepEqual(m.traps(), []);
    assert.equal(m.u64('out_misc') & 1n, 1n);
  },
);

onBothTiers(
  'xsa-298: a far call through an empty LDT is #GP with the selector',
  `
    ${shareRoot()}
    ${inUser('here: far_call [pointer]')}
    jmp over
    pointer: .long 0
    .word 0x1007
    over:
  `,
  (m) => {
    const trap = only(m);
    assert.deepEqual([trap.vector, Number(trap.error), trap.rip], [13, 0x1004, m.address('here')]);
  },
);

onBothTiers(
  'division by zero is #DE, and a privileged instruction of the kernel #GP(0)',
  `
    mov ecx, 0
    ${faulting('div ecx')}
    ${faulting('hlt')}
    ${faulting('invlpg [rax]')}
    ${faulting('swapgs')}
    ${faulting('lgdt [request]')}
  `,
  (m) =>
    assert.deepEqual(
      m.traps().map(({ vector }) => vector),
      [0, 13, 13, 13, 13],
    ),
);

onBothTiers(
  'a jump, call or return to an address that is not canonical faults at itself, with stack and memory as they were',
  `
    mov rbx, 0x0000800000000000
    mov qword [rsp - 8], 0x55
    mov [out_rsp], rsp
    mov qword [resume], after_jump
    jump: jmp rbx
    after_jump: mov qword [resume], after_call
    call: call rbx
    after_call: mov [out_called], rsp
    push rbx
    mov qword [resume], after_return
    return: ret
    after_return: mov qword [resume], 0
    mov rax, [rsp]
    ${save('top')}
    add rsp, 8
  `,
  (m) => {
    assert.deepEqual(
      m.traps().map(({ vector, error, rip }) => [vector, error, rip]),
      ['jump', 'call', 'return'].map((name) => [13, 0n, m.address(name)]),
    );
    assert.equal(m.u64('out_called'), m.u64('out_rsp'));
    assert.equal(m.u64('out_top'), 0x0000800000000000n);
  },
);
