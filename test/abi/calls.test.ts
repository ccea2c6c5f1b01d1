/**
 * Events, timers, waiting, multicalls, grants and versions as a kernel uses them, and the XTF tests about them.
 * pv-abi 2.7, 2.9, 2.10, 2.13, 2.15, 4, 6, 12.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Machine } from './machine.ts';
import { onBothTiers, only } from './on-both-tiers.ts';
import { EVENT, faulting, hypercall, inUser, SYSCALL, save, shareRoot, shutdown } from './runtime.ts';

/** Bind a virtual interrupt or an IPI; the port is in `request + offset`. */
const bindTimer = () => `
  mov dword [request], 0
  mov dword [request + 4], 0
  ${hypercall('event_channel_op', 1, 'request')}
  ${hypercall('vcpu_op', 7, 0, 0)}
`;
const bindIpi = (name: string) => `
  mov dword [request], 0
  ${hypercall('event_channel_op', 7, 'request')}
  mov eax, [request + 4]
  mov [${name}], eax
`;
const send = (name: string) => `
  mov eax, [${name}]
  mov [request], eax
  ${hypercall('event_channel_op', 4, 'request')}
`;
const unmask = () => 'mov byte [shared_info + 1], 0\n';
const deliverNow = () => hypercall('xen_version', 0, 0);
/** `ns` from now, for the timers that take absolute times. */
const after = (ns: number) => `
  rdtsc
  shl rdx, 32
  or rax, rdx
  add rax, ${ns}
  mov [deadline], rax
`;

// Events. ----------------------------------------------------------------------------------------------------------------

onBothTiers(
  'an event that comes while the mask is set is delivered at the next return after it is cleared, once, and masks',
  `
    ${bindIpi('port')}
    ${send('port')}
    ${save('sent')}
    mov rax, [event_count]
    ${save('masked')}
    ${unmask()}
    mov [out_r11], r11
    mov rcx, 0x33
    here: ${deliverNow()}
    behind:
    mov rax, [event_count]
    ${save('delivered')}
    ${deliverNow()}
    mov rax, [event_count]
    ${save('once')}
    movzx eax, byte [shared_info + 1]
    ${save('mask_after')}
    jmp over
    port: .quad 0
    over:
  `,
  (m) => {
    assert.deepEqual(
      ['out_sent', 'out_masked', 'out_delivered', 'out_once', 'out_mask_after'].map((name) => m.s64(name)),
      [0, 0, 1, 1, 0],
    );
    const trap = only(m);
    assert.equal(trap.vector, EVENT);
    assert.equal(trap.rip, m.address('behind'), 'the hypercall is over when the event comes');
    assert.equal(trap.mask, 1);
    assert.equal(trap.cs, 0xe030n, 'the mask was clear before');
    assert.equal(trap.rflags & 0x200n, 0x200n);
  },
);

onBothTiers(
  'an event interrupts user mode on the kernel stack, and iret goes on there',
  `
    ${shareRoot()}
    ${bindTimer()}
    ${after(200_000)}
    ${hypercall('set_timer_op', '[deadline]')}
    ${inUser('mov rbx, event_count\nspin: cmp qword [rbx], 0\nje spin')}
    jmp over
    deadline: .quad 0
    over:
  `,
  (m) => {
    const [event, end] = m.traps();
    assert.equal(event!.vector, EVENT);
    assert.equal(event!.cs, 0xe033n);
    assert.equal(event!.frame, m.address('stack_top') - 56n);
    assert.ok(event!.rip >= m.address('spin'));
    assert.equal(end!.vector, SYSCALL);
  },
);

onBothTiers(
  'an NMI comes before an event, nests no second NMI, and its end lets the next one in',
  `
    ${bindIpi('port')}
    ${send('port')}
    ${hypercall('vcpu_op', 11, 0, 0)}
    ${unmask()}
    ${deliverNow()}
    jmp over
    port: .quad 0
    over:
  `,
  (m) =>
    assert.deepEqual(
      m.traps().map(({ vector }) => vector),
      [2, EVENT],
    ),
);

onBothTiers(
  'a masked port stays pending without an upcall, and unmasking it brings the event',
  `
    ${bindIpi('port')}
    ${unmask()}
    mov eax, [port]
    lock bts [shared_info + 0xa00], eax
    ${send('port')}
    ${deliverNow()}
    mov rax, [event_count]
    ${save('masked')}
    mov rax, [shared_info + 0x800]
    ${save('pending')}
    mov eax, [port]
    mov [request], eax
    ${hypercall('event_channel_op', 9, 'request')}
    ${save('unmask')}
    mov rax, [event_count]
    ${save('unmasked')}
    jmp over
    .align 8
    port: .quad 0
    over:
  `,
  (m) => {
    assert.equal(m.s64('out_masked'), 0);
    assert.equal(m.u64('out_pending') & (1n << BigInt(m.u32('port'))), 1n << BigInt(m.u32('port')));
    assert.deepEqual([m.s64('out_unmask'), m.s64('out_unmasked')], [0, 1]);
  },
);

onBothTiers(
  'events of several words of ports set one selector bit each',
  `
    ${Array.from({ length: 70 }, () => bindIpi('port')).join('')}
    ${send('port')}
    mov dword [port], 10
    ${send('port')}
    mov rax, [shared_info + 8]
    ${save('selector')}
    movzx eax, byte [shared_info]
    ${save('upcall')}
    jmp over
    port: .quad 0
    over:
  `,
  (m) => assert.deepEqual([m.u64('out_selector'), m.u64('out_upcall')], [3n, 1n]),
);

// Waiting and timers. ------------------------------------------------------------------------------------------------------

onBothTiers(
  'SCHEDOP_block clears the mask, sleeps until the timer, and the event comes before it returns 0',
  `
    ${bindTimer()}
    ${after(50_000_000)}
    mov rax, [deadline]
    mov [request], rax
    mov dword [request + 8], 0
    ${hypercall('vcpu_op', 8, 0, 'request')}
    ${save('timer')}
    ${hypercall('sched_op', 1, 0)}
    ${save('block')}
    mov rax, [event_count]
    ${save('events')}
    rdtsc
    shl rdx, 32
    or rax, rdx
    ${save('woken')}
    jmp over
    deadline: .quad 0
    over:
  `,
  (m) => {
    assert.deepEqual(
      ['out_timer', 'out_block', 'out_events'].map((name) => m.s64(name)),
      [0, 0, 1],
    );
    const late = m.u64('out_woken') - m.u64('deadline');
    assert.ok(late >= 0n && late < 2_000_000n, `woken ${late} ns after the time`);
  },
);

onBothTiers(
  'SCHEDOP_block with an event that is pending already returns at once',
  `
    ${bindIpi('port')}
    ${send('port')}
    ${hypercall('sched_op', 1, 0)}
    mov rax, [event_count]
    ${save('events')}
    jmp over
    port: .quad 0
    over:
  `,
  (m) => assert.equal(m.s64('out_events'), 1),
);

onBothTiers(
  'SCHEDOP_poll ends at its time or when a port is pending, masked or not, without an upcall while events are masked',
  `
    ${bindIpi('port')}
    mov dword [request + 8], 0
    ${after(30_000_000)}
    ${poll('port', '[deadline]')}
    ${save('timeout')}
    rdtsc
    shl rdx, 32
    or rax, rdx
    ${save('woken')}
    ${send('port')}
    ${poll('port', '0')}
    ${save('pending')}
    mov rax, [event_count]
    ${save('events')}
    movzx eax, byte [shared_info + 1]
    ${save('mask')}
    mov dword [bad], 4096
    ${poll('bad', '1')}
    ${save('bad')}
    mov dword [polls + 8], 129
    ${hypercall('sched_op', 3, 'polls')}
    ${save('many')}
    jmp over
    .align 8
    polls: .quad 0, 0, 0
    bad: .quad 0
    port: .quad 0
    deadline: .quad 0
    over:
  `,
  (m) => {
    const names = ['timeout', 'pending', 'events', 'mask', 'bad', 'many'];
    assert.deepEqual(
      names.map((name) => m.s64(`out_${name}`)),
      [0, 0, 0, 1, -22, -22],
    );
    assert.ok(m.u64('out_woken') >= m.u64('deadline'));
  },
);
function poll(port: string, timeout: string): string {
  return `
    mov rax, ${timeout}
    mov [polls + 16], rax
    mov qword [polls], ${port}
    mov dword [polls + 8], 1
    ${hypercall('sched_op', 3, 'polls')}
  `;
}

onBothTiers(
  'xsa-221: polling each port from 32 to 4095 with a short time limit',
  `
    mov ebx, 32
    again:
    mov [port], ebx
    ${poll('port', '1')}
    inc ebx
    cmp ebx, 4096
    jbe again
    ${save('last')}
    jmp over
    .align 8
    polls: .quad 0, 0, 0
    port: .quad 0
    over:
  `,
  (m) => assert.equal(m.s64('out_last'), -22),
  { slices: 20_000 },
);

onBothTiers(
  'the periodic timer ticks for who has bound it, and not any more when it is stopped',
  `
    mov dword [request], 0
    mov dword [request + 4], 0
    ${hypercall('event_channel_op', 1, 'request')}
    mov eax, [request + 8]
    mov [port], eax
    mov qword [request], 2000000
    ${hypercall('vcpu_op', 6, 0, 'request')}
    ${save('set')}
    mov ebx, 5
    tick: ${hypercall('sched_op', 1, 0)}
    mov eax, [port]
    lock btr [shared_info + 0x800], eax
    dec ebx
    jne tick
    mov rax, [event_count]
    ${save('ticks')}
    mov qword [request], 10
    ${hypercall('vcpu_op', 6, 0, 'request')}
    ${save('short')}
    ${hypercall('vcpu_op', 7, 0, 0)}
    mov rax, [event_count]
    ${save('stopped')}
    ${after(20_000_000)}
    ${poll('unbound', '[deadline]')}
    mov rax, [event_count]
    sub rax, [out_stopped]
    ${save('later')}
    jmp over
    .align 8
    polls: .quad 0, 0, 0
    port: .quad 0
    unbound: .quad 900
    deadline: .quad 0
    over:
  `,
  (m) => {
    assert.deepEqual(
      ['out_set', 'out_short', 'out_later'].map((name) => m.s64(name)),
      [0, -22, 0],
    );
    assert.ok(m.s64('out_ticks') >= 5);
  },
);

onBothTiers(
  'a timer of the past fires at once, and one of the far future not now',
  `
    ${bindTimer()}
    ${unmask()}
    ${hypercall('set_timer_op', 1)}
    mov rax, [event_count]
    ${save('past')}
    mov rax, -1
    ${hypercall('set_timer_op', 'rax')}
    mov rax, [event_count]
    ${save('far')}
    ${hypercall('set_timer_op', 0)}
  `,
  (m) => assert.deepEqual([m.s64('out_past'), m.s64('out_far')], [1, 1]),
);

test('waiting for what never comes is no crash and no endless loop: the vCPU waits', () => {
  const m = new Machine(`${hypercall('vcpu_op', 7, 0, 0)}\n${hypercall('sched_op', 1, 0)}\n${shutdown()}`);
  assert.equal(m.run().kind, 'stuck');
  const down = new Machine(`${hypercall('vcpu_op', 2, 0, 0)}\n${shutdown(3)}`);
  assert.deepEqual(down.run(), { kind: 'shutdown', reason: 0 }, 'the last vCPU that goes down ends the domain');
});

// Multicalls. ------------------------------------------------------------------------------------------------------------

onBothTiers(
  'a multicall stores each result, goes on after errors, and does not nest',
  `
    ${hypercall('multicall', 'calls', 4)}
    ${save('result')}
    ${hypercall('multicall', 8, 1)}
    ${save('nowhere')}
    jmp over
    .align 64
    calls: .quad 17, 0, 0, 0, 0, 0, 0, 0
    .quad 99, 0, 0, 0, 0, 0, 0, 0
    .quad 13, 0, calls, 1, 0, 0, 0, 0
    .quad 17, 0, 7, 0, 0, 0, 0, 0
    over:
  `,
  (m) => {
    assert.deepEqual([m.s64('out_result'), m.s64('out_nowhere')], [0, -14]);
    assert.deepEqual(
      [1, 9, 17, 25].map((i) => m.s64('calls', i)),
      [0x40011, -38, -38, 4096],
    );
  },
);

onBothTiers(
  'xsa-213: a multicall ends at iret; user mode runs, and no later entry does',
  `
    ${shareRoot()}
    mov qword [escape], back
    push 0xe02b
    mov rax, user_stack_top
    push rax
    push 0x202
    push 0xe033
    mov rax, user
    push rax
    push 0
    push 0
    push 0
    push 0
    ${hypercall('multicall', 'calls', 2)}
    ud2
    user: mov qword [out_seen], 1
    syscall
    back: mov qword [escape], 0
    jmp over
    .align 64
    calls: .quad 23, 0x55, 0, 0, 0, 0, 0, 0
    .quad 17, 0, 0, 0, 0, 0, 0, 0
    over:
  `,
  (m) => {
    assert.equal(m.u64('out_seen'), 1n);
    assert.equal(m.u64('calls', 1), 0x55n);
    assert.equal(m.u64('calls', 9), 0n);
    assert.equal(only(m).vector, SYSCALL);
  },
);

// Versions. --------------------------------------------------------------------------------------------------------------

onBothTiers(
  'xsa-122: version texts fill their buffers with zeros, and nothing behind them is touched',
  `
    mov rdi, buffer
    mov eax, 0x55
    mov ecx, 4096
    cld
    rep stosb
    ${hypercall('xen_version', 1, 'buffer')}
    ${hypercall('xen_version', 2, 'buffer + 256')}
    ${hypercall('xen_version', 4, 'buffer + 512')}
    ${hypercall('xen_version', 3, 'buffer + 1024')}
    jmp over
    .align 4096
    buffer: .zero 4096
    over:
  `,
  (m) => {
    const bytes = m.bytes('buffer', 4096);
    for (const [at, size] of [
      [0, 16],
      [512, 64],
      [1024, 1024],
    ] as const) {
      const field = bytes.subarray(at, at + size);
      const end = field.indexOf(0);
      assert.ok(end >= 0 && field.subarray(end).every((byte) => byte === 0));
      assert.equal(bytes[at + size], 0x55);
    }
    assert.equal(bytes[256 + 144], 0x55);
    assert.ok(!bytes.subarray(256, 256 + 144).includes(0x55));
  },
);

// Event channels and grants. -----------------------------------------------------------------------------------------------

onBothTiers(
  'xsa-188: FIFO event channels are not there, whatever they are asked with',
  `
    mov qword [request], -2
    mov qword [request + 8], 0
    ${hypercall('event_channel_op', 11, 'request')}
    ${save('init')}
    ${hypercall('event_channel_op', 12, 'request')}
    ${save('expand')}
  `,
  (m) => assert.deepEqual([m.s64('out_init'), m.s64('out_expand')], [-38, -38]),
);

onBothTiers(
  'xsa-317: ports run out with -ENOSPC, and come back when they are closed',
  `
    mov ebx, 0
    again:
    mov dword [request], 0x00007ff0
    ${hypercall('event_channel_op', 6, 'request')}
    inc ebx
    cmp rax, 0
    je again
    ${save('last')}
    mov [out_count], rbx
    mov dword [request], 100
    ${hypercall('event_channel_op', 3, 'request')}
    ${save('close')}
    mov dword [request], 0x00007ff0
    ${hypercall('event_channel_op', 6, 'request')}
    mov eax, [request + 4]
    ${save('port')}
  `,
  (m) =>
    assert.deepEqual(
      ['out_last', 'out_count', 'out_close', 'out_port'].map((name) => m.s64(name)),
      [-28, 4094, 0, 100],
    ),
);

/** Entry `gref` of the grant table at `grants`: our own frame of `label`. */
const grant = (gref: number, label: string, domain = 'MY_DOMID') => `
  mov rax, ${label}
  sub rax, VIRT_BASE
  shr rax, 12
  mov [grants + ${8 * gref + 4}], eax
  mov word [grants + ${8 * gref + 2}], ${domain}
  mov word [grants + ${8 * gref}], 1
`;
const setup = () => `
  mov dword [request], DOMID_SELF
  mov dword [request + 4], 1
  mov qword [request + 16], frame_list
  ${hypercall('grant_table_op', 2, 'request', 1)}
  mov rdx, [frame_list]
  shl rdx, 12
  add rdx, 0x23
  ${hypercall('update_va_mapping', 'grants', 'rdx', 2)}
`;
const map = (hostAddress: string, flags: number, gref: number, domain = 'DOMID_SELF') => `
  mov rax, ${hostAddress}
  mov [request], rax
  mov dword [request + 8], ${flags}
  mov dword [request + 12], ${gref}
  mov qword [request + 16], ${domain}
  mov qword [request + 24], 0
  ${hypercall('grant_table_op', 0, 'request', 1)}
`;
const STATUS = 'movsx eax, word [request + 18]\nmovsxd rax, eax\n';
const areas = `
  jmp over
  .align 8
  frame_list: .quad 0
  .align 4096
  grants: .zero 4096
  window: .zero 4096
  page: .quad 0x1122334455667788
  .align 4096
  over:
`;

onBothTiers(
  'a grant of one’s own is mapped, seen through, and unmapped',
  `
    ${setup()}
    ${grant(9, 'page')}
    ${map('window', 2, 9)}
    ${save('call')}
    ${STATUS}
    ${save('status')}
    mov eax, [request + 20]
    mov [handle], eax
    mov rax, [window]
    ${save('seen')}
    movzx eax, word [grants + 72]
    ${save('in_use')}
    mov rax, window
    mov [request], rax
    mov qword [request + 8], 0
    mov eax, [handle]
    mov [request + 16], eax
    ${hypercall('grant_table_op', 1, 'request', 1)}
    movsx eax, word [request + 20]
    ${save('unmapped')}
    movzx eax, word [grants + 72]
    ${save('free')}
    ${faulting('mov rax, [window]')}
    jmp beyond
    handle: .quad 0
    beyond:
    ${areas}
  `,
  (m) => {
    assert.deepEqual(
      ['call', 'status', 'in_use', 'unmapped', 'free'].map((name) => m.s64(`out_${name}`)),
      [0, 0, 0x19, 0, 1],
    );
    assert.equal(m.u64('out_seen'), 0x1122334455667788n);
    assert.equal(only(m).cr2, m.address('window'));
  },
);

onBothTiers(
  'xsa-227: a grant is not mapped into an entry that is not aligned; xsa-316: nor for a wrong domain',
  `
    ${setup()}
    ${grant(9, 'page')}
    mov r12, [L1_VA + 8]
    ${map('L1_MADDR + 10', 2 | 16, 9)}
    ${save('call')}
    ${STATUS}
    ${save('misaligned')}
    mov rax, [L1_VA + 8]
    sub rax, r12
    ${save('changed')}
    ${map('window', 2, 9, '0x1234')}
    ${save('domain_call')}
    ${STATUS}
    ${save('domain')}
    ${map('window', 2, 100000)}
    ${STATUS}
    ${save('gref')}
    ${map('window', 2, 10)}
    ${STATUS}
    ${save('not_granted')}
    ${map('0x123456000', 2, 9)}
    ${STATUS}
    ${save('no_table')}
    ${areas}
  `,
  (m) => {
    assert.equal(m.s64('out_call'), 0);
    assert.notEqual(m.s64('out_misaligned'), 0);
    assert.equal(m.s64('out_changed'), 0);
    assert.deepEqual(
      ['domain_call', 'domain', 'gref', 'not_granted', 'no_table'].map((name) => m.s64(`out_${name}`)),
      [0, -1, -3, -1, -1],
    );
  },
);

onBothTiers(
  'xsa-232: cache flushes of grants are refused for all addresses',
  `
    mov ebx, 64
    again:
    mov [request], rbx
    ${hypercall('grant_table_op', 12, 'request', 1)}
    dec ebx
    jne again
    ${save('last')}
    ${hypercall('grant_table_op', 8, 'request', 1)}
    ${save('version')}
  `,
  (m) => assert.deepEqual([m.s64('out_last'), m.s64('out_version')], [-38, -38]),
);
