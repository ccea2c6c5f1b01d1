/**
 * Page tables as a kernel handles them: stores to pinned L1 tables that are performed for it, mmu_update and its checks, pins,
 * and the XTF tests about them. pv-abi 2.2, 2.8, 2.11, 3.3, 12.
 */
import assert from 'node:assert/strict';
import { onBothTiers, only } from './on-both-tiers.ts';
import { faulting, hypercall, inUser, save, shareRoot } from './runtime.ts';

/** The entry that maps `label`: its machine address in rbx, its (read-only) virtual address in rbp. */
const entryOf = (label: string) => `
  mov rbx, ${label}
  shr rbx, 9
  and rbx, 0xff8
  mov rbp, rbx
  add rbx, L1_MADDR
  add rbp, L1_VA
`;
/** mmu_update of one entry: machine address and value are what `mov rax,` takes. */
const update = (maddr: string, value: string, count = 1) => `
  mov rax, ${maddr}
  mov [request], rax
  mov rax, ${value}
  mov [request + 8], rax
  ${hypercall('mmu_update', 'request', count, 'mmu_done', 'DOMID_SELF')}
`;
const extended = (command: number, arg1: string, arg2 = '0') => `
  mov dword [mmuext], ${command}
  mov rax, ${arg1}
  mov [mmuext + 8], rax
  mov rax, ${arg2}
  mov [mmuext + 16], rax
  ${hypercall('mmuext_op', 'mmuext', 1, 0, 'DOMID_SELF')}
`;
const PIN = (level: number) => level - 1;
const UNPIN = 4;
const pages = (...labels: string[]) => `
  jmp beyond_pages
  mmu_done: .quad 0
  .align 4096
  ${labels.map((label) => `${label}: .zero 4096`).join('\n')}
  beyond_pages:
`;
const frameOf = (label: string) => `mov rax, ${label}\nsub rax, VIRT_BASE\nshr rax, 12\n`;

// Stores to page tables. -------------------------------------------------------------------------------------------------

onBothTiers(
  'plain stores to the read-only mapping of a pinned L1 are performed: mov, xchg, lock cmpxchg, lock and, rep stos',
  `
    ${entryOf('page')}
    mov rax, [rbp]
    mov [out_first], rax
    mov qword [rbp], 0
    mov rax, [rbp]
    mov [out_cleared], rax
    mov rax, [out_first]
    mov [rbp], rax
    mov qword [page], 5
    mov eax, 0
    xchg [rbp], rax
    mov [out_exchanged], rax
    mov rcx, [out_first]
    mov rax, 1
    lock cmpxchg [rbp], rcx
    mov [out_unequal], rax
    pushf
    pop qword [out_flags_unequal]
    mov eax, 0
    lock cmpxchg [rbp], rcx
    pushf
    pop qword [out_flags_equal]
    mov rax, [rbp]
    mov [out_stored], rax
    lock btr qword [rbp], 1
    pushf
    pop qword [out_flags_btr]
    mov rax, [rbp]
    mov [out_read_only], rax
    lock or dword [rbp], 2
    mov rdi, rbp
    mov rax, [out_first]
    mov ecx, 1
    cld
    rep stosq
    mov [out_rdi], rdi
    mov byte [rbp + 1], 0x0e
    mov rax, [rbp]
    mov [out_byte], rax
    ${pages('page')}
  `,
  (m) => {
    assert.deepEqual(m.traps(), []);
    const first = m.u64('out_first');
    const AD = 0x60n;
    const zf = (name: string) => (m.u64(name) >> 6n) & 1n;
    assert.equal(m.u64('out_cleared'), 0n);
    assert.equal(m.u64('page'), 5n);
    assert.equal(m.u64('out_exchanged') | AD, first | AD);
    assert.equal(m.u64('out_unequal'), 0n);
    assert.equal(zf('out_flags_unequal'), 0n);
    assert.equal(zf('out_flags_equal'), 1n);
    assert.equal(m.u64('out_stored'), first);
    assert.equal(m.u64('out_flags_btr') & 1n, 1n);
    assert.equal(m.u64('out_read_only'), first & ~2n);
    assert.equal(m.u64('out_rdi'), m.address('L1_VA') + ((m.address('page') >> 9n) & 0xff8n) + 8n);
    assert.equal(m.u64('out_byte'), (first & ~0xff00n) | 0x0e00n);
  },
);

onBothTiers(
  'a store that would make an unlawful entry is not performed: the kernel gets the page fault, with its registers as they were',
  `
    ${entryOf('page')}
    mov rax, [rbp]
    mov [out_before], rax
    mov rcx, 0x7fffffff067
    ${faulting('here: xchg [rbp], rcx')}
    mov [out_rcx], rcx
    mov rax, 0x0008000000000067
    ${faulting('mov [rbp], rax')}
    mov rax, [rbp]
    mov [out_after], rax
    ${pages('page')}
  `,
  (m) => {
    const traps = m.traps();
    assert.deepEqual(
      traps.map(({ vector, error }) => [vector, Number(error)]),
      [
        [14, 3],
        [14, 3],
      ],
    );
    assert.equal(traps[0]!.rip, m.address('here'));
    assert.equal(traps[0]!.cr2, m.address('L1_VA') + ((m.address('page') >> 9n) & 0xff8n));
    assert.equal(m.u64('out_rcx'), 0x7fffffff067n);
    assert.equal(m.u64('out_after'), m.u64('out_before'));
  },
);

onBothTiers(
  'stores to L2 to L4 tables, to other read-only pages and from user mode fault',
  `
    ${shareRoot()}
    ${faulting('mov qword [L2_VA], 0')}
    ${faulting('mov qword [L3_VA], 0')}
    ${faulting('mov qword [L4_VA], 0')}
    ${entryOf('page')}
    mov rdx, [rbp]
    and rdx, -3
    ${hypercall('update_va_mapping', 'page', 'rdx', 2)}
    ${faulting('mov [page], rax')}
    ${inUser('mov rax, [L1_VA]\nmov [L1_VA], rax')}
    ${pages('page')}
  `,
  (m) => {
    assert.deepEqual(
      m.traps().map(({ vector, error }) => [vector, Number(error)]),
      [
        [14, 3],
        [14, 3],
        [14, 3],
        [14, 3],
        [14, 7],
      ],
    );
  },
);

// mmu_update. ------------------------------------------------------------------------------------------------------------

onBothTiers(
  'mmu_update checks what frame it writes and what the entry names, and counts what it has done',
  `
    ${entryOf('page')}
    mov r12, [rbp]
    ${update('rbx', 'r12')}
    ${save('same')}
    mov rax, [mmu_done]
    ${save('done')}
    ${update('rbx', '0x7fffffff067')}
    ${save('foreign')}
    mov rax, [mmu_done]
    ${save('done_foreign')}
    ${update('L2_MADDR', '0x00200083')}
    ${save('superpage')}
    ${update('L4_MADDR + 2048', '0x67')}
    ${save('hole')}
    ${update('0x7ffffffff000', '0')}
    ${save('no_frame')}
    ${update('SHARED_INFO_MADDR', '0')}
    ${save('our_frame')}
    or rbx, 4
    ${update('rbx', '0')}
    ${save('command')}
    ${hypercall('mmu_update', 8, 1, 0, 'DOMID_SELF')}
    ${save('no_array')}
    ${hypercall('mmu_update', 'request', 1, 0, 3)}
    ${save('other_domain')}
    ${pages('page')}
  `,
  (m) => {
    const results = (names: string[]) => names.map((name) => m.s64(`out_${name}`));
    assert.deepEqual(results(['same', 'done', 'foreign', 'done_foreign']), [0, 1, -22, 0]);
    assert.deepEqual(results(['superpage', 'hole', 'no_frame', 'our_frame', 'command']), [-22, -22, -22, -22, -38]);
    assert.deepEqual(results(['no_array', 'other_domain']), [-14, -3]);
    assert.deepEqual(m.traps(), []);
  },
);

onBothTiers(
  'pins need a lawful table, hold once, and are given back',
  `
    ${frameOf('table')}
    mov r12, rax
    ${extended(PIN(1), 'r12')}
    ${save('pin')}
    ${extended(PIN(1), 'r12')}
    ${save('twice')}
    ${extended(PIN(2), 'r12')}
    ${save('other_level')}
    ${extended(UNPIN, 'r12')}
    ${save('unpin')}
    ${extended(UNPIN, 'r12')}
    ${save('unpin_twice')}
    mov rax, 0xfffffffff0000067
    mov [table], rax
    ${extended(PIN(1), 'r12')}
    ${save('unlawful')}
    ${extended(PIN(1), '0xffffffffffffffff')}
    ${save('nowhere')}
    ${extended(PIN(4), 'SHARED_INFO_MFN')}
    ${save('ours')}
    ${extended(UNPIN, 'L4_PFN')}
    ${save('root')}
    mov qword [table], 5
    mov rax, [table]
    ${save('alive')}
    ${pages('table')}
  `,
  (m) => {
    const results = (...names: string[]) => names.map((name) => m.s64(`out_${name}`));
    assert.deepEqual(results('pin', 'twice', 'other_level', 'unpin', 'unpin_twice'), [0, -22, -22, 0, -22]);
    assert.deepEqual(results('unlawful', 'nowhere', 'ours'), [-22, -22, -22]);
    assert.deepEqual(results('root', 'alive'), [0, 5], 'the builder’s root can be unpinned and is still in use');
  },
);

onBothTiers(
  'xsa-182: a recursive L4 entry is refused, or at least never becomes writable',
  `
    mov rax, L4_MADDR + 8
    mov rcx, L4_MADDR + 0x21
    ${update('rax', 'rcx')}
    ${save('read_only')}
    mov rcx, L4_MADDR + 0x23
    ${update('L4_MADDR + 8', 'rcx')}
    ${save('writable')}
    ${pages('page')}
  `,
  (m) => {
    assert.equal(m.s64('out_read_only'), -22);
    assert.equal(m.s64('out_writable'), -22);
  },
);

onBothTiers(
  'xsa-286: an update of an address after its L2 was replaced in the same multicall changes the new table',
  `
    # Another L2 and L1 for the gigabyte at VIRT_BASE: the L2 a copy, with the first L1 replaced by a copy of itself.
    mov rsi, L2_VA
    mov rdi, other_l2
    mov ecx, 512
    cld
    rep movsq
    mov rsi, L1_VA
    mov rdi, other_l1
    mov ecx, 512
    rep movsq
    mov rax, other_l1
    sub rax, VIRT_BASE
    add rax, 0x67
    mov [other_l2], rax
    # The new tables map themselves read-only.
    mov rbx, other_l2
    shr rbx, 9
    and rbx, 0xff8
    add rbx, other_l1
    and qword [rbx], -3
    and qword [rbx + 8], -3
    # multicall: clear, replace, set.
    mov rax, other_l2
    sub rax, VIRT_BASE
    add rax, 0x67
    mov [replace + 8], rax
    mov rax, page
    mov [call_1 + 16], rax
    mov [call_3 + 16], rax
    sub rax, VIRT_BASE
    mov rcx, 0x8000000000000063
    add rax, rcx
    mov [call_3 + 24], rax
    ${hypercall('multicall', 'call_1', 3)}
    ${save('result')}
    ${['1', '2', '3'].map((n) => `mov rax, [call_${n} + 8]\n${save(`result_${n}`)}`).join('')}
    mov rbx, page
    shr rbx, 9
    and rbx, 0xff8
    mov rax, [rbx + other_l1]
    ${save('new')}
    mov rax, [rbx + L1_VA]
    ${save('old')}
    jmp over
    .align 64
    call_1: .quad 14, 0, 0, 0, 1, 0, 0, 0
    call_2: .quad 1, 0, replace, 1, 0, DOMID_SELF, 0, 0
    call_3: .quad 14, 0, 0, 0, 1, 0, 0, 0
    replace: .quad L3_MADDR + 4080, 0
    .align 4096
    other_l2: .zero 4096
    other_l1: .zero 4096
    page: .zero 4096
    over:
  `,
  (m) => {
    assert.deepEqual(
      ['out_result', 'out_result_1', 'out_result_2', 'out_result_3'].map((name) => m.s64(name)),
      [0, 0, 0, 0],
    );
    assert.equal(m.u64('out_old'), 0n);
    assert.equal(m.u64('out_new') & 0xfff0000000000003n, 0x8000000000000003n);
  },
);

onBothTiers(
  'xsa-279: an update of an address that cannot be is an error, also with a flush of everything',
  `
    ${hypercall('update_va_mapping', '0x8000000000000000', 0, 2 | 4)}
    ${save('result')}
    ${hypercall('update_va_mapping', '0xffff800000000000', 0, 1)}
    ${save('hole')}
    ${hypercall('update_va_mapping', '0x4000', 0, 1)}
    ${save('no_table')}
  `,
  (m) =>
    assert.deepEqual(
      ['out_result', 'out_hole', 'out_no_table'].map((name) => m.s64(name)),
      [-22, -22, -22],
    ),
);

onBothTiers(
  'xsa-167: marking a superpage that cannot be is refused',
  `
    ${extended(19, '0xdeadbeef')}
    ${save('mark')}
    ${extended(20, '0xdeadbeef')}
    ${save('unmark')}
    ${extended(14, '0')}
    ${save('unknown')}
    ${extended(12, '0')}
    ${save('cache')}
  `,
  (m) =>
    assert.deepEqual(
      ['out_mark', 'out_unmark', 'out_unknown', 'out_cache'].map((name) => m.s64(name)),
      [-95, -95, -38, -13],
    ),
);

onBothTiers(
  'CLEAR_PAGE and COPY_PAGE work on plain frames and leave page tables alone',
  `
    mov qword [from], 7
    mov qword [to], 8
    ${frameOf('from')}
    mov r12, rax
    ${frameOf('to')}
    mov r13, rax
    ${extended(17, 'r13', 'r12')}
    ${save('copy')}
    mov rax, [to]
    ${save('copied')}
    ${extended(16, 'r13')}
    ${save('clear')}
    ${extended(16, 'L1_PFN')}
    ${save('table')}
    ${extended(16, 'SHARED_INFO_MFN')}
    ${save('ours')}
    ${extended(17, 'r13', '0x10000000000')}
    ${save('nowhere')}
    mov rax, [to]
    ${save('cleared')}
    ${pages('from', 'to')}
  `,
  (m) => {
    const names = ['copy', 'copied', 'clear', 'table', 'ours', 'nowhere', 'cleared'];
    assert.deepEqual(
      names.map((name) => m.s64(`out_${name}`)),
      [0, 7, 0, -22, -22, -22, 0],
    );
  },
);

onBothTiers(
  'pages go back and come again empty, and nobody else’s do',
  `
    mov qword [page], 7
    ${frameOf('page')}
    mov [extent], rax
    ${entryOf('page')}
    mov r12, [rbp]
    ${hypercall('update_va_mapping', 'page', 0, 2)}
    ${hypercall('memory_op', 1, 'reservation')}
    ${save('decrease')}
    ${hypercall('memory_op', 1, 'reservation')}
    ${save('again')}
    ${hypercall('memory_op', 6, 'reservation')}
    ${save('populate')}
    ${hypercall('update_va_mapping', 'page', 'r12', 2)}
    mov rax, [page]
    ${save('content')}
    mov qword [extent], L1_PFN
    ${hypercall('memory_op', 1, 'reservation')}
    ${save('table')}
    mov qword [extent], 0x7fffffff
    ${hypercall('memory_op', 1, 'reservation')}
    ${save('nowhere')}
    mov rax, -1
    mov [extent], rax
    ${hypercall('memory_op', 6, 'reservation')}
    ${save('nowhere_in')}
    jmp over
    reservation: .quad extent, 1
    .long 0, 0
    .quad DOMID_SELF
    extent: .quad 0
    .align 4096
    page: .zero 4096
    over:
  `,
  (m) => {
    const names = ['decrease', 'again', 'populate', 'content', 'table', 'nowhere', 'nowhere_in'];
    assert.deepEqual(
      names.map((name) => m.s64(`out_${name}`)),
      [1, 0, 1, 0, 0, 0, 0],
    );
  },
);

onBothTiers(
  'xsa-212: memory exchange with a count that points out of its array fails, and the kernel lives on',
  `
    ${hypercall('memory_op', 11, 'exchange')}
    ${save('result')}
    mov ecx, 0
    ${faulting('div ecx')}
    jmp over
    exchange: .quad 0, 1
    .long 0, 0
    .quad DOMID_SELF
    .quad 0xffff830000000000, 1
    .long 0, 0
    .quad DOMID_SELF
    .quad 0x1000000000
    over:
  `,
  (m) => {
    assert.ok(m.s64('out_result') < 0);
    assert.equal(only(m).vector, 0);
  },
);

onBothTiers(
  'xsa-231: every NUMA node that can be asked for is taken for any',
  `
    mov ebx, 0
    again:
    mov eax, ebx
    shl eax, 8
    mov [flags], eax
    ${hypercall('memory_op', 0, 'reservation')}
    inc ebx
    cmp ebx, 256
    jb again
    ${save('last')}
    jmp over
    reservation: .quad 0, 1
    .long 0
    flags: .long 0
    .quad DOMID_SELF
    over:
  `,
  (m) => assert.equal(m.s64('out_last'), 0, 'all pages are there already'),
);

onBothTiers(
  'a repeated instruction that is longer than a slice ends as if it had not been interrupted',
  `
    mov rdi, FREE_VA
    mov eax, 0x5a
    mov ecx, 70000
    cld
    rep stosb
    mov [out_stos_rdi], rdi
    mov [out_stos_rcx], rcx
    mov byte [FREE_VA + 60000], 1
    mov rdi, FREE_VA
    mov ecx, 70000
    repe scasb
    mov [out_scas_rcx], rcx
    pushf
    pop qword [out_flags]
    mov rsi, FREE_VA + 69999
    mov rdi, FREE_VA + 169999
    mov ecx, 70000
    std
    rep movsb
    cld
    mov [out_movs_rsi], rsi
    mov rsi, FREE_VA
    mov rdi, FREE_VA + 100000
    mov ecx, 70000
    repe cmpsb
    mov [out_cmps_rcx], rcx
    pushf
    pop qword [out_cmps_flags]
  `,
  (m) => {
    const free = m.address('FREE_VA');
    assert.deepEqual([m.u64('out_stos_rdi') - free, m.u64('out_stos_rcx')], [70000n, 0n]);
    assert.equal(m.u64('out_scas_rcx'), 70000n - 60001n);
    assert.equal(m.u64('out_flags') & 0x40n, 0n);
    assert.equal(m.u64('out_movs_rsi'), free - 1n);
    assert.equal(m.u64('out_cmps_rcx'), 0n);
    assert.equal(m.u64('out_cmps_flags') & 0x40n, 0x40n);
  },
);

/** Requests that each set the entry of `page` to what it is, behind the kernel's image. */
const MANY = 40_000;
onBothTiers(
  'batches that take long are finished in pieces, with all results, while timers go on',
  `
    ${entryOf('page')}
    mov rax, [rbp]
    mov rdi, FREE_VA
    mov ecx, ${MANY}
    fill: mov [rdi], rbx
    mov [rdi + 8], rax
    add rdi, 16
    dec ecx
    jne fill
    ${hypercall('mmu_update', 'FREE_VA', MANY, 'mmu_done', 'DOMID_SELF')}
    ${save('updates')}
    mov eax, [mmu_done]
    ${save('done')}
    # One unlawful entry near the end.
    mov rax, 0x7fffffff067
    mov [FREE_VA + ${16 * (MANY - 10) + 8}], rax
    ${hypercall('mmu_update', 'FREE_VA', MANY, 'mmu_done', 'DOMID_SELF')}
    ${save('stopped')}
    mov eax, [mmu_done]
    ${save('stopped_at')}
    # A multicall of 600 calls, of which each asks for the page size, and the last makes all those updates.
    mov rdi, FREE_VA + 1048576
    mov ecx, 600
    calls: mov qword [rdi], 17
    mov qword [rdi + 16], 7
    mov qword [rdi + 24], 0
    add rdi, 64
    dec ecx
    jne calls
    mov qword [rdi - 64], 1
    mov qword [rdi - 48], FREE_VA
    mov qword [rdi - 40], ${MANY - 20}
    mov qword [rdi - 32], mmu_done
    mov qword [rdi - 24], DOMID_SELF
    mov dword [mmu_done], 0
    ${hypercall('multicall', 'FREE_VA + 1048576', 600)}
    ${save('multicall')}
    mov eax, [mmu_done]
    ${save('within')}
    ${pages('page')}
  `,
  (m) => {
    const names = ['updates', 'done', 'stopped', 'stopped_at', 'multicall', 'within'];
    assert.deepEqual(
      names.map((name) => m.s64(`out_${name}`)),
      [0, MANY, -22, MANY - 10, 0, MANY - 20],
    );
    const results = Array.from({ length: 600 }, (_, i) => m.s64('FREE_VA', (1048576 + 64 * i + 8) / 8));
    assert.deepEqual(results, [...new Array(599).fill(4096), 0]);
  },
);
