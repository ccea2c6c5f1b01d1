import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ElfHeader, ElfProgramHeader, XEN_ELFNOTE as NOTE } from '../../abi/elf.ts';
import { GrantEntryV1 } from '../../abi/grants.ts';
import { SharedInfo, VcpuInfo } from '../../abi/shared-info.ts';
import { StartInfo } from '../../abi/start-info.ts';
import { readFlags } from '../../x86/flags.ts';
import { GPR, SEG, STATE } from '../../x86/state.ts';
import { allocatedPages, isAllocated } from '../allocation.ts';
import { EventChannels } from '../event-channels.ts';
import { GuestMemory, planLayout, SPECIAL } from '../memory.ts';
import { LINUX_NOTES, makeKernel, type TestNotes } from './elf-for-tests.ts';
import { BuildError, buildDomain, minimumMemoryPages } from './index.ts';
import { parseKernel } from './kernel-image.ts';
import { planDomain } from './plan.ts';

const MIB = 1 << 20;
const clock = { now: () => 1234, wallclockNs: () => 1_700_000_000_500_000_000n };

function newMemory(pages: number): GuestMemory {
  const layout = planLayout(pages, 1);
  return new GuestMemory(new SharedArrayBuffer(layout.bytes), layout);
}

/** The shape of Debian's cloud kernel, without its 44 MiB. */
function cloudKernel(notes: TestNotes = LINUX_NOTES): Uint8Array {
  const code = Uint8Array.of(0x90, 0x91, 0x92);
  const end = Uint8Array.of(0xcc);
  return makeKernel(
    [
      { paddr: 0x1000000, bytes: code, memsz: 0x1826634 },
      { paddr: 0x301a000, bytes: end, memsz: 0x34000 },
      { paddr: 0x304e000, bytes: end, memsz: 0xdb2000 },
    ],
    notes,
  );
}

function without(notes: TestNotes, ...types: number[]): TestNotes {
  return Object.fromEntries(Object.entries(notes).filter(([type]) => !types.includes(Number(type))));
}

/** What a walk of the page tables from `root` finds at `va`: frame and whether it may be written. */
function walk(memory: GuestMemory, root: number, va: bigint): { frame: number; writable: boolean } | undefined {
  let frame = root;
  for (const shift of [39n, 30n, 21n, 12n]) {
    const entry = memory.view.getBigUint64(memory.at(frame) + Number((va >> shift) & 511n) * 8, true);
    if ((entry & 1n) === 0n) return undefined;
    frame = Number(entry >> 12n);
    if (shift === 12n) return { frame, writable: (entry & 2n) !== 0n };
    assert.equal(entry & 0xfffn, 0x67n);
  }
  return undefined;
}

test('the layout of the cloud kernel with 256 MiB and a 30 MiB initrd is that of the reference', () => {
  const plan = planDomain(parseKernel(cloudKernel()), 0x10000, 30 * MIB);
  assert.deepEqual(
    { startInfo: plan.startInfo, store: plan.store, console: plan.console, tables: plan.tables, stack: plan.stack },
    { startInfo: 0x3e00, store: 0x3e01, console: 0x3e02, tables: { first: 0x3e03, count: 35 }, stack: 0x3e26 },
  );
  assert.equal(plan.mapped, 0x4000);
  assert.deepEqual(plan.initrd, { first: 0x4000, count: 0x1e00 });
  assert.deepEqual(plan.p2m, { first: 0x5e00, count: 0x80 });
  assert.deepEqual(plan.p2mTables, { first: 0x5e80, count: 3 });
  assert.equal(plan.end, 0x5e83);
});

test('a built domain has start_info, page tables, p2m list, shared_info and registers as Linux expects them', () => {
  const memory = newMemory(0x10000);
  const initrd = new Uint8Array(5000).fill(7);
  const built = buildDomain(memory, { elf: cloudKernel(), initrd, cmdline: 'console=hvc0 é', domid: 3, clock });
  const { view } = memory;
  const info = memory.at(built.startInfoPfn);
  assert.equal(String.fromCharCode(...memory.u8.slice(info, info + 15)), 'xen-3.0-x86_64\0');
  assert.deepEqual(memory.u8.slice(info + 0x80, info + 0x80 + 16), new Uint8Array(Buffer.from('console=hvc0 é\0')));
  const read = (
    name: 'nr_pages' | 'shared_info' | 'store_mfn' | 'console_mfn' | 'pt_base' | 'nr_pt_frames' | 'mfn_list',
  ) => StartInfo[name].get(view, info);
  assert.equal(read('nr_pages'), 0x10000n);
  assert.equal(read('shared_info'), BigInt((0x10000 + SPECIAL.sharedInfo) * 4096));
  assert.equal(read('store_mfn'), 0x3e01n);
  assert.equal(read('console_mfn'), 0x3e02n);
  assert.equal(read('pt_base'), 0xffffffff83e03000n);
  assert.equal(read('nr_pt_frames'), 35n);
  assert.equal(read('mfn_list'), 0x8000000000n);
  assert.equal(StartInfo.flags.get(view, info), 0x18);
  assert.equal(StartInfo.store_evtchn.get(view, info), 1);
  assert.equal(StartInfo.console_evtchn.get(view, info), 2);
  assert.equal(StartInfo.mod_start.get(view, info), 0x4000n);
  assert.equal(StartInfo.mod_len.get(view, info), 5000n);
  assert.equal(StartInfo.first_p2m_pfn.get(view, info), 0x4002n);
  assert.equal(StartInfo.nr_p2m_frames.get(view, info), 131n);

  const root = built.pinned.mfn;
  assert.deepEqual(walk(memory, root, 0xffffffff80000000n), { frame: 0, writable: true });
  assert.deepEqual(walk(memory, root, 0xffffffff81000000n), { frame: 0x1000, writable: true });
  assert.deepEqual(walk(memory, root, 0xffffffff83e03000n), { frame: 0x3e03, writable: false });
  assert.deepEqual(walk(memory, root, 0xffffffff83e25000n), { frame: 0x3e25, writable: false });
  assert.deepEqual(walk(memory, root, 0xffffffff83e26000n), { frame: 0x3e26, writable: true });
  assert.deepEqual(walk(memory, root, 0xffffffff83fff000n), { frame: 0x3fff, writable: true });
  assert.equal(walk(memory, root, 0xffffffff84000000n), undefined);
  assert.deepEqual(walk(memory, root, 0x8000000000n), { frame: 0x4002, writable: true });
  assert.equal(walk(memory, root, 0x8000080000n), undefined);
  assert.equal(view.getBigUint64(memory.at(0x4002) + 8 * 0xffff, true), 0xffffn);

  assert.deepEqual([...memory.u8.slice(memory.at(0x1000), memory.at(0x1000) + 4)], [0x90, 0x91, 0x92, 0]);
  assert.equal(memory.u8[memory.at(0x4000) + 4999], 7);
  assert.equal(memory.u8[memory.at(0x4000) + 5000], 0);

  const shared = memory.at(0x10000 + SPECIAL.sharedInfo);
  for (let id = 0; id < 32; id++) assert.equal(VcpuInfo.evtchn_upcall_mask.get(view, shared + 64 * id), 1);
  assert.equal(SharedInfo.wc_sec.get(view, shared), 1_700_000_000);
  assert.equal(SharedInfo.wc_nsec.get(view, shared), 500_000_000);
  assert.equal(view.getBigUint64(shared + 0x20 + 0x10, true), 1234n);

  const base = memory.vcpuBase(0);
  assert.equal(view.getBigUint64(base + STATE.rip, true), 0xffffffff8304e1c0n);
  assert.equal(view.getBigUint64(base + STATE.gpr + 8 * GPR.rsp, true), 0xffffffff83e27000n);
  assert.equal(view.getBigUint64(base + STATE.gpr + 8 * GPR.rsi, true), 0xffffffff83e00000n);
  assert.equal(readFlags(view, base), 0x202);
  assert.equal(view.getUint32(base + STATE.selector + 4 * SEG.cs, true), 0xe033);
  assert.equal(view.getUint32(base + STATE.selector + 4 * SEG.ss, true), 0xe02b);
  assert.equal(view.getUint32(base + STATE.kernelRoot, true), root);
  assert.equal(view.getUint32(base + STATE.kernelMode, true), 1);
});

test('the store and console rings are granted to domain 0 and their ports lead to it', () => {
  const memory = newMemory(0x8000);
  const built = buildDomain(memory, { elf: cloudKernel(), cmdline: '', domid: 3, clock });
  const grants = memory.at(0x8000 + SPECIAL.grantTable);
  const frames = [built.consoleMfn, built.storeMfn];
  for (const [gref, frame] of frames.entries()) {
    assert.equal(GrantEntryV1.flags.get(memory.view, grants + 8 * gref), 1);
    assert.equal(GrantEntryV1.domid.get(memory.view, grants + 8 * gref), 0);
    assert.equal(GrantEntryV1.frame.get(memory.view, grants + 8 * gref), frame);
  }
  const events = new EventChannels(memory, 3);
  assert.equal(events.send(built.storePort), 0);
  assert.equal(events.send(built.consolePort), 0);
  assert.deepEqual(events.takePendingForBackend(), [1, 2]);
});

test('a kernel without INIT_P2M and MOD_START_PFN finds list and initrd mapped behind itself', () => {
  const memory = newMemory(0x8000);
  const notes = without(LINUX_NOTES, NOTE.INIT_P2M, NOTE.MOD_START_PFN);
  const initrd = new Uint8Array(3 * 4096).fill(9);
  const built = buildDomain(memory, { elf: cloudKernel(notes), initrd, cmdline: '', domid: 1, clock });
  const info = memory.at(built.startInfoPfn);
  assert.equal(StartInfo.mod_start.get(memory.view, info), 0xffffffff83e00000n);
  assert.equal(StartInfo.mfn_list.get(memory.view, info), 0xffffffff83e03000n);
  assert.equal(built.startInfoPfn, 0x3e03 + 64);
  assert.equal(StartInfo.flags.get(memory.view, info), 0x10);
  assert.equal(StartInfo.nr_p2m_frames.get(memory.view, info), 0n);
  assert.deepEqual(walk(memory, built.pinned.mfn, 0xffffffff83e03000n), { frame: 0x3e03, writable: true });
});

test('a kernel at VIRT_BASE 0 with notes in a section gets its hypercall page filled', () => {
  const memory = newMemory(0x2000);
  const text = new Uint8Array(0x3000).fill(0xc3);
  const notes = {
    [NOTE.ENTRY]: 0x100000n,
    [NOTE.VIRT_BASE]: 0n,
    [NOTE.HYPERCALL_PAGE]: 0x101000n,
    [NOTE.LOADER]: 'generic',
  };
  const built = buildDomain(memory, {
    elf: makeKernel([{ paddr: 0x100000, bytes: text }], notes, 'section'),
    cmdline: '',
    domid: 1,
    clock,
  });
  assert.deepEqual(walk(memory, built.pinned.mfn, 0x100000n), { frame: 0x100, writable: true });
  const page = memory.at(0x101);
  const bytes = (at: number, n: number) => Buffer.from(memory.u8.slice(page + at, page + at + n)).toString('hex');
  assert.equal(bytes(12 * 32, 15), '514153b80c0000000f05415b59c3c3');
  assert.equal(bytes(23 * 32, 12), '51415350b8170000000f05c3');
});

test('memory above the starting size is not owned until the guest asks for it', () => {
  const memory = newMemory(0x8000);
  buildDomain(memory, { elf: cloudKernel(), cmdline: '', domid: 1, pages: 0x5003, clock });
  assert.equal(allocatedPages(memory), 0x5003);
  assert.equal(isAllocated(memory, 0x5002), true);
  assert.equal(isAllocated(memory, 0x5003), false);
});

test('building writes only to frames that hold something', () => {
  const memory = newMemory(0x8000);
  const built = buildDomain(memory, { elf: cloudKernel(), cmdline: '', domid: 1, clock });
  let used = 0;
  for (let pfn = 0; pfn < 0x8000; pfn++) {
    const at = memory.at(pfn) >>> 3;
    if (memory.u64.subarray(at, at + 512).some((word) => word !== 0n)) used++;
  }
  // The first page of each of 3 segments, start_info, all page tables, the p2m list.
  assert.equal(used, 3 + 1 + built.plan.tables.count + built.plan.p2m.count + built.plan.p2mTables.count);
});

test('a kernel is read from its file in pieces, each byte once, and goes where its program headers say', () => {
  const image = Uint8Array.from({ length: 700_001 }, (_, i) => (i % 8192 < 4096 ? 0 : 1 + (i % 251)));
  const paddr = 0x1000123;
  const rest = { paddr: 0x2000000, bytes: Uint8Array.of(0xcc), memsz: 0x1e00000 };
  const elf = makeKernel([{ paddr, bytes: image, memsz: image.length + 5 }, rest], LINUX_NOTES);
  const reads: number[] = [];
  const file = {
    size: elf.length,
    read(offset: number, into: Uint8Array) {
      assert.ok(offset >= 0 && offset + into.length <= elf.length);
      into.set(elf.subarray(offset, offset + into.length));
      reads.push(into.length);
    },
  };
  const memory = newMemory(0x8000);
  buildDomain(memory, { elf: file, cmdline: '', domid: 1, clock });
  const at = memory.at(0) + paddr;
  assert.deepEqual(
    Buffer.from(memory.u8.slice(at - 4, at + image.length + 4)),
    Buffer.concat([Buffer.alloc(4), image, Buffer.alloc(4)]),
  );
  assert.ok(Math.max(...reads) <= 1 << 18);
  const large = reads.filter((bytes) => bytes > 4096).reduce((sum, bytes) => sum + bytes, 0);
  assert.ok(large <= image.length && large > image.length - 4096, `${large} bytes`);
});

test('too little memory is refused in one line with the figure that would do, and that figure does', () => {
  const elf = cloudKernel();
  const initrd = new Uint8Array(10 * MIB);
  const pages = minimumMemoryPages(elf, initrd.length);
  const small = newMemory(pages - 256);
  assert.throws(
    () => buildDomain(small, { elf, initrd, cmdline: '', domid: 1, clock }),
    (error) =>
      error instanceof BuildError &&
      /^\d+ MiB of memory is too little: this kernel and initrd need at least 86 MiB to start$/.test(error.message),
  );
  buildDomain(newMemory(pages), { elf, initrd, cmdline: '', domid: 1, clock });
});

test('the least memory is what Debian’s cloud kernel was found to start with; other systems are taken at their word', () => {
  const initrd = 2179072;
  assert.equal(Math.ceil(minimumMemoryPages(cloudKernel(), initrd) / 256), 70);
  const other = cloudKernel({ ...LINUX_NOTES, [NOTE.GUEST_OS]: 'NetBSD' });
  assert.equal(Math.ceil(minimumMemoryPages(other, initrd) / 256), 67);
});

const text = Uint8Array.of(0xc3);
const simple = (notes: TestNotes) => makeKernel([{ paddr: 0x3000000, bytes: text, memsz: 0x100000 }], notes);

test('each kernel that cannot be a PV domain is refused with one line that says why', () => {
  const refuse = (elf: Uint8Array, pattern: RegExp) =>
    assert.throws(
      () => parseKernel(elf),
      (error) => error instanceof BuildError && pattern.test(error.message) && !error.message.includes('\n'),
    );
  const patched = (patch: (view: DataView) => void) => {
    const elf = simple(LINUX_NOTES);
    patch(new DataView(elf.buffer));
    return elf;
  };
  refuse(new Uint8Array(0), /not an ELF file/);
  refuse(new Uint8Array(5000), /not an ELF file/);
  refuse(simple({}), /no Xen notes/);
  refuse(simple({ ...LINUX_NOTES, [NOTE.XEN_VERSION]: 'xen-2.0' }), /interface "xen-2.0"/);
  refuse(simple({ ...LINUX_NOTES, [NOTE.LOADER]: 'odd', [NOTE.GUEST_OS]: 'other' }), /loader "odd"/);
  refuse(simple({ ...LINUX_NOTES, [NOTE.FEATURES]: 'x|!auto_translated_physmap' }), /"auto_translated_physmap"/);
  refuse(simple({ ...LINUX_NOTES, [NOTE.HV_START_LOW]: 0xffff880000000000n }), /leaves the hypervisor/);
  refuse(simple({ ...LINUX_NOTES, [NOTE.ENTRY]: 0x1000n }), /entry 0x1000 lies outside/);
  refuse(simple({ ...LINUX_NOTES, [NOTE.HYPERCALL_PAGE]: 0n }), /hypercall page/);
  refuse(
    patched((v) => ElfHeader.class.set(v, 0, 1)),
    /not a 64-bit/,
  );
  refuse(
    patched((v) => ElfHeader.machine.set(v, 0, 183)),
    /machine 183/,
  );
  refuse(
    patched((v) => ElfHeader.phoff.set(v, 0, 1n << 63n)),
    /outside the file/,
  );
  refuse(
    patched((v) => ElfHeader.phnum.set(v, 0, 65535)),
    /outside the file/,
  );
  refuse(
    patched((v) => ElfProgramHeader.filesz.set(v, 64, (1n << 64n) - 1n)),
    /segment 0 lies outside/,
  );
  refuse(
    patched((v) => ElfProgramHeader.memsz.set(v, 64, 1n << 62n)),
    /cannot be loaded/,
  );
  refuse(
    patched((v) => ElfProgramHeader.memsz.set(v, 64, 0n)),
    /cannot be loaded|nothing to load/,
  );
  refuse(
    patched((v) => ElfProgramHeader.paddr.set(v, 64, (1n << 64n) - 4096n)),
    /cannot be loaded/,
  );
});

test('a damaged file never does anything but parse or be refused', () => {
  const good = simple(LINUX_NOTES);
  let seed = 1;
  const random = (n: number) => {
    seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
    return (seed >>> 8) % n;
  };
  for (let round = 0; round < 3000; round++) {
    const elf = good.slice(0, random(4) === 0 ? random(good.length) : good.length);
    for (let i = 0; i < 4 && elf.length > 0; i++)
      elf[random(Math.min(elf.length, 700))] = [0, 0xff, 0x80, random(256)][random(4)]!;
    try {
      planDomain(parseKernel(elf), 0x8000, 0);
    } catch (error) {
      assert.ok(error instanceof BuildError, `round ${round}: ${String(error)}`);
    }
  }
});

test('a kernel that wants to be where the hypervisor is, or a command line that is too long, is refused', () => {
  const memory = newMemory(0x8000);
  const base = 0xffff800000000000n;
  const notes = { ...without(LINUX_NOTES, NOTE.INIT_P2M), [NOTE.VIRT_BASE]: base, [NOTE.ENTRY]: base + 0x3000000n };
  assert.throws(
    () => buildDomain(memory, { elf: simple(notes), cmdline: '', domid: 1, clock }),
    /where the hypervisor is/,
  );
  const near = { ...LINUX_NOTES, [NOTE.INIT_P2M]: 0xffffff8000000000n };
  assert.throws(() => buildDomain(memory, { elf: cloudKernel(near), cmdline: '', domid: 1, clock }), /within 512 GiB/);
  const cmdline = 'x'.repeat(1024);
  assert.throws(
    () => buildDomain(memory, { elf: cloudKernel(), cmdline, domid: 1, clock }),
    /1024 bytes; at most 1023/,
  );
});
