/**
 * Guests that mean harm, or are made of chance: whatever they do to themselves, nothing is thrown out of the monitor, nothing
 * outside their frames is written (the patterns of machine.ts), and every call into the engine and the hypervisor ends in
 * bounded time. Each test prints its seed when it fails.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { buildFastExits } from '../../src/hypervisor/fast/index.ts';
import { integer32, Random } from '../cpu/random.ts';
import { CALL_LIMIT_MS, fuzzCalls } from './hostile-calls.ts';
import { Machine, type MachineOptions } from './machine.ts';
import { hypercall, save, shutdown } from './runtime.ts';

const SEED = 20041105;

/** Run until the guest's time is over, crashed or ended: all are well. The monitor must come back soon. */
function survive(m: Machine, what: string, slices = 6): void {
  const start = performance.now();
  try {
    m.run(slices);
  } catch (error) {
    throw new Error(`${what}: thrown out of the run loop`, { cause: error });
  }
  const ms = performance.now() - start;
  assert.ok(ms < 20 * CALL_LIMIT_MS, `${what}: ${ms} ms for ${slices} slices`);
  m.checkCanaries();
}

test('hypercalls of chance are answered, in time', () => {
  for (let seed = SEED; seed < SEED + 3; seed++) {
    const { slowest } = fuzzCalls(new Random(seed), 4000);
    assert.ok(slowest.ms < CALL_LIMIT_MS, `seed ${seed}: ${slowest.ms} ms in ${slowest.what}`);
  }
});

// Page tables. -----------------------------------------------------------------------------------------------------------

/** An entry of chance: huge frame numbers, tables, the table itself, frames of the hypervisor. */
function entry(random: Random, m: Machine, table: number): bigint {
  const { layout } = m.memory;
  const frame = BigInt(
    random.pick([
      table,
      Number(m.places.L4_PFN) + random.below(6),
      random.below(layout.pages),
      layout.frames - random.below(100),
      layout.frames + random.below(3),
      integer32(random),
      integer32(random) * 256 + 1,
    ]),
  );
  const flags = BigInt(random.pick([0x67, 0x63, 0x23, 0x21, 0xe7, random.below(4096)]));
  const high = random.chance(6) ? BigInt(integer32(random)) << 32n : 0n;
  return BigInt.asUintN(64, (frame << 12n) | flags | high | (random.chance(6) ? 1n << 63n : 0n));
}

/** Touches addresses that it computes, in every way, and makes hypercalls that walk the tables. */
const WANDERER = `
  mov r12, 0x9e3779b97f4a7c15
  mov r15, 1
  again:
  imul r15, r12
  add r15, 12345
  mov rbx, r15
  sar rbx, 17
  mov qword [resume], next_1
  mov rax, [rbx]
  next_1: mov qword [resume], next_2
  mov [rbx], r15
  next_2: mov qword [resume], next_3
  xchg [rbx + 4090], rax
  # A megabyte that the kernel does not need itself.
  next_3: mov rbx, r15
  shr rbx, 44
  mov rax, FREE_VA
  add rbx, rax
  mov qword [resume], next_4
  mov rax, [rbx]
  next_4: mov qword [resume], next_5
  lock inc qword [rbx + 2]
  next_5: mov qword [resume], next_6
  lock cmpxchg [rbx], r12
  next_6: mov qword [resume], next_7
  mov rdi, rbx
  mov rsi, r15
  sar rsi, 20
  mov ecx, 700
  rep movsq
  next_7: mov qword [resume], next_8
  mov rdi, 0xffff800000000000
  mov rax, [rdi + 16]
  next_8: mov qword [resume], 0
  ${hypercall('update_va_mapping', 'rbx', 'r15', 2)}
  ${hypercall('xen_version', 1, 'rbx')}
  ${hypercall('memory_op', 5, 'r15')}
  jmp again
`;

test('page tables of chance map no more than the guest’s own frames', () => {
  const random = new Random(SEED);
  for (let round = 0; round < 24; round++) {
    const options: MachineOptions = {
      engine: round % 2 ? { tier1: false } : { tier1: { threshold: 3 }, exitPaths: buildFastExits },
    };
    const m = new Machine(WANDERER, options);
    m.run(2);
    m.domain.shutdown = undefined;
    // As a guest could write them that has mapped its tables for itself: behind the hypervisor's back.
    const poke = (table: number, index: number) =>
      m.memory.view.setBigUint64(m.memory.at(table) + 8 * index, entry(random, m, table), true);
    // All pages that the kernel does not need itself, and a few entries anywhere.
    for (let page = Number(m.places.FREE_PFN); page < 1024; page++) {
      poke(Number(m.places.L1_PFN) + (page >>> 9), page & 511);
    }
    for (let i = 0; i < random.below(20); i++) {
      poke(Number(m.places.L4_PFN) + random.below(3), random.below(508));
      poke(Number(m.places.L1_PFN), random.below(512));
    }
    m.engine.flushTlb();
    survive(m, `round ${round}, seed ${SEED}`, 30);
  }
});

test('a root made of chance, and one that is its own table at every level, are survived', () => {
  const random = new Random(SEED + 1);
  for (let round = 0; round < 12; round++) {
    const m = new Machine(WANDERER);
    m.run(2);
    m.domain.shutdown = undefined;
    const root = Number(m.places.L4_PFN);
    for (let index = 0; index < 512; index++) {
      if (round % 3 !== 0 && random.chance(2)) continue;
      const value = round % 3 === 1 ? (BigInt(root) << 12n) | 0x67n : entry(random, m, root);
      m.memory.view.setBigUint64(m.memory.at(root) + 8 * index, value, true);
    }
    m.engine.flushTlb();
    survive(m, `round ${round}, seed ${SEED + 1}`);
  }
});

// Code. ------------------------------------------------------------------------------------------------------------------

/** Bytes that are instructions rather often: opcodes that leave to the hypervisor, prefixes, and small operands. */
function randomCode(random: Random, length: number): Uint8Array {
  const common = [
    0x0f, 0x48, 0x66, 0xf0, 0xf3, 0xf2, 0x65, 0x8b, 0x89, 0xff, 0x8e, 0xcf, 0xcb, 0xee, 0x6c, 0xcd, 0xe8, 0x01, 0xc7,
    0xae, 0xd9, 0xdd,
  ];
  return Uint8Array.from({ length }, () => (random.chance(3) ? random.pick(common) : random.u32() & 0xff));
}

test('code of chance in kernel mode ends in a crash, in an endless loop or in the guest’s end, nothing else', () => {
  const random = new Random(SEED + 2);
  for (let round = 0; round < 16; round++) {
    const m = new Machine('', {
      image: randomCode(random, 0x4000),
      engine: round % 2 ? { tier1: false } : { tier1: { threshold: 1 }, exitPaths: buildFastExits },
    });
    survive(m, `round ${round}, seed ${SEED + 2}`, 3);
  }
});

test('code of chance that begins elsewhere after each fault runs long and harms nobody', () => {
  const random = new Random(SEED + 3);
  for (let round = 0; round < 8; round++) {
    const m = new Machine(
      `
      jmp skip
      # Every handler goes on at another place of the code, on a sound stack.
      .align 4096
      skip:
      mov rsp, stack_top
      mov rax, [skip_at]
      add rax, 13
      and rax, 8191
      mov [skip_at], rax
      add rax, code
      jmp rax
      .align 4096
      skip_at: .quad 0
      .align 4096
      code: .zero 8192
      `,
      {
        engine: {
          tier1: round % 2 ? false : { threshold: 20 },
          shapes: round % 3 ? 4000 : 40,
          exitPaths: buildFastExits,
        },
      },
    );
    m.memory.u8.set(randomCode(random, 8192), m.at('code'));
    m.run(1);
    m.domain.shutdown = undefined;
    for (let vector = 0; vector < 256; vector++) m.vcpu.traps.set(vector, 0, 0xe033, m.address('skip'));
    for (const callback of Object.values(m.vcpu.callbacks)) callback.set(m.address('skip'), true);
    survive(m, `round ${round}, seed ${SEED + 3}`, 10);
  }
});

test('more shapes of instructions than the engine keeps are made anew, and the guest does not notice', () => {
  // Shifts by an immediate in a vector register: the immediate is part of the shape.
  const shapes = Array.from({ length: 256 }, (_, i) => `.byte 0x66, 0x0f, 0x70, 0xc0, ${i}\ninc rbx`).join('\n');
  const m = new Machine(
    `
    mov rbx, 0
    mov ecx, 3
    again:
    ${Array.from({ length: 4 }, (_, i) => `jmp part_${i}\n.align 4096\npart_${i}: ${shapes}`).join('\n')}
    dec ecx
    jne again
    mov [out_count], rbx
    ${shutdown()}
    `,
    { engine: { tier1: false, shapes: 16 } },
  );
  m.runToEnd();
  assert.equal(m.u64('out_count'), 3n * 4n * 256n);
  assert.ok(m.engine.statistics.flushes > 0);
  assert.ok(m.engine.statistics.shapes < 1000, `${m.engine.statistics.shapes} shapes are kept`);
});

// Work without end. --------------------------------------------------------------------------------------------------------

/** Every address up to 2^47 is one page: tables whose entries are all the same. */
const ENDLESS_MEMORY = `
  ${['l3', 'l2', 'l1']
    .map(
      (t, i, all) => `
    mov rdi, endless_${t}
    mov rax, ${i < 2 ? `endless_${all[i + 1]}` : 'endless_page'}
    sub rax, VIRT_BASE
    add rax, 0x67
    mov ecx, 512
    cld
    rep stosq
  `,
    )
    .join('')}
  mov rax, endless_l3
  sub rax, VIRT_BASE
  add rax, 0x67
  mov qword [request], L4_MADDR
  mov [request + 8], rax
  mov ebx, 256
  link: ${hypercall('mmu_update', 'request', 1, 0, 'DOMID_SELF')}
  ${save('link')}
  add qword [request], 8
  dec ebx
  jne link
`;
const ENDLESS_TABLES = `
  jmp beyond_endless
  .align 4096
  endless_l3: .zero 4096
  endless_l2: .zero 4096
  endless_l1: .zero 4096
  endless_page: .zero 4096
  beyond_endless:
`;

/** One exit's work at most between two looks at the clock, then the next look ends the run. */
function endless(name: string, code: string): void {
  for (const tier1 of [false, { threshold: 1 }] as const) {
    test(`${name} does not keep the vCPU’s thread (${tier1 ? 'regions' : 'interpreter'})`, { timeout: 60_000 }, () => {
      const m = new Machine(`${ENDLESS_TABLES}\n${ENDLESS_MEMORY}\n${code}\n${shutdown()}`, {
        engine: { tier1, exitPaths: buildFastExits },
      });
      const start = performance.now();
      const outcome = m.run(30);
      assert.equal(m.s64('out_link'), 0);
      assert.equal(outcome.kind, 'time', JSON.stringify(outcome));
      assert.ok(performance.now() - start < 10 * CALL_LIMIT_MS);
      m.checkCanaries();
    });
  }
}

for (const [name, instruction] of [
  ['rep stosb over 128 TiB', 'rep stosb'],
  ['rep movsb over 128 TiB', 'mov rsi, 0x1001\nrep movsb'],
  ['rep movsb backwards', 'mov rdi, 0x7fffffff0000\nmov rsi, 0x7ffffff00000\nstd\nrep movsb'],
  ['rep lodsb', 'mov esi, 0\nrep lodsb'],
  ['repne scasb for what is not there', 'mov al, 5\nrepne scasb'],
  ['repe cmpsb of what is the same', 'mov esi, 4096\nrepe cmpsb'],
] as const) {
  endless(name, `cld\nmov edi, 0\nmov eax, 0\nmov rcx, 0x7ffffffe0000\n${instruction}`);
}
endless(
  'mmu_update of 2^31 entries',
  `
  mov rax, L1_MADDR + 1
  mov [endless_page], rax
  ${Array.from({ length: 256 }, (_, i) => `mov [endless_page + ${16 * i}], rax`).join('\n')}
  ${hypercall('mmu_update', 0, '0x7fffffff', 0, 'DOMID_SELF')}
`,
);
endless(
  'mmuext_op of 2^32 operations',
  `
  ${Array.from({ length: 512 }, (_, i) => `mov dword [endless_page + ${8 * i}], 7`).join('\n')}
  ${hypercall('mmuext_op', 0, '0xffffffff', 0, 'DOMID_SELF')}
`,
);
endless(
  'a multicall of 2^32 entries',
  `
  ${Array.from({ length: 64 }, (_, i) => `mov dword [endless_page + ${64 * i}], 17`).join('\n')}
  ${hypercall('multicall', 0, '0xffffffff')}
`,
);
