/**
 * Builds a PV domain in new memory: kernel, initrd, page tables, p2m list, start_info, shared_info, and the registers of
 * vCPU 0. Frames that hold nothing are not touched: they cost the host nothing until the guest uses them. Pinning the page
 * tables in the type map and filling the M2P is for the caller (`pinned`). Follows pv-abi 1.
 */
import { GNTTAB_RESERVED, LEGACY_MAX_VCPUS, SIF, START_INFO_MAGIC } from '../../abi/numbers.ts';
import { SHARED_INFO_ARRAYS, VcpuInfo } from '../../abi/shared-info.ts';
import { START_INFO_BYTES, StartInfo } from '../../abi/start-info.ts';
import { allocateInitial } from '../allocation.ts';
import { EventChannels } from '../event-channels.ts';
import { GrantTable } from '../grant-table.ts';
import { type GuestMemory, PAGE_SIZE, SPECIAL } from '../memory.ts';
import type { Clock } from '../ports.ts';
import { writeVcpuTime, writeWallclock } from '../time.ts';
import { writeHypercallPage } from './hypercall-page.ts';
import { setInitialState } from './initial-state.ts';
import { type KernelFile, kernelInMemory } from './kernel-file.ts';
import { BuildError, type KernelImage, type KernelSegment, parseKernel } from './kernel-image.ts';
import { mapRange, PAGE_FLAGS, READ_ONLY_FLAGS, rootSlots } from './page-tables.ts';
import { type BuildPlan, type Frames, minimumPages, planDomain } from './plan.ts';

export interface BuildOptions {
  /** The uncompressed kernel. */
  readonly elf: Uint8Array | KernelFile;
  readonly initrd?: Uint8Array;
  readonly cmdline: string;
  readonly domid: number;
  /** Pages that the domain owns at its start; all of the memory's, when not given. */
  readonly pages?: number;
  readonly clock: Clock;
}

export interface BuiltDomain {
  readonly pages: number;
  readonly entry: bigint;
  /** Initial RSP, which is also kernel_sp until the guest says otherwise. */
  readonly stackPointer: bigint;
  readonly startInfoPfn: number;
  /** Frames and ports of the xenstore and console rings. */
  readonly storeMfn: number;
  readonly storePort: number;
  readonly consoleMfn: number;
  readonly consolePort: number;
  /** The L4 table, to be pinned before the guest runs: Linux unpins it. */
  readonly pinned: { readonly mfn: number; readonly level: 4 };
  readonly kernel: KernelImage;
  readonly plan: BuildPlan;
}

export function buildDomain(memory: GuestMemory, options: BuildOptions): BuiltDomain {
  const { initrd, domid } = options;
  const file = options.elf instanceof Uint8Array ? kernelInMemory(options.elf) : options.elf;
  const pages = options.pages ?? memory.layout.pages;
  const kernel = parseKernel(file);
  const initrdBytes = initrd?.length ?? 0;
  const needed = minimumPages(kernel, initrdBytes);
  if (pages < needed) {
    const has = initrdBytes > 0 ? 'this kernel and initrd need' : 'this kernel needs';
    throw new BuildError(`${mib(pages)} MiB of memory is too little: ${has} at least ${mib(needed)} MiB to start`);
  }
  if (pages > memory.layout.pages) throw new BuildError(`${mib(pages)} MiB is more than the domain's maximum memory`);
  const cmdline = utf8(options.cmdline);
  if (cmdline.length >= START_INFO_BYTES.cmd_line.size) {
    throw new BuildError(
      `the kernel command line has ${cmdline.length} bytes; at most ${START_INFO_BYTES.cmd_line.size - 1} fit`,
    );
  }
  const plan = planDomain(kernel, pages, initrdBytes);
  checkSlots(kernel, plan);

  allocateInitial(memory, pages);
  const pieces = new Uint8Array(PIECE_BYTES);
  for (const segment of kernel.segments) loadSegment(memory, file, segment, pieces);
  if (initrd) memory.u8.set(initrd, memory.at(plan.initrd.first));
  writeP2m(memory, plan.p2m, pages);
  writeTables(memory, kernel, plan);
  if (kernel.hypercallPagePfn !== undefined) writeHypercallPage(memory, kernel.hypercallPagePfn);

  const events = new EventChannels(memory, domid);
  const storePort = events.allocForBackend();
  const consolePort = events.allocForBackend();
  const grants = new GrantTable(memory, domid);
  grants.seed(GNTTAB_RESERVED.console, plan.console);
  grants.seed(GNTTAB_RESERVED.xenstore, plan.store);

  writeStartInfo(memory, kernel, plan, { pages, cmdline, initrdBytes, storePort, consolePort });
  writeSharedInfo(memory, options.clock);
  const va = (pfn: number) => BigInt.asUintN(64, kernel.virtBase + BigInt(pfn) * BigInt(PAGE_SIZE));
  const stackPointer = va(plan.stack + 1);
  setInitialState(memory, 0, {
    entry: kernel.entry,
    stackPointer,
    startInfo: va(plan.startInfo),
    kernelRoot: plan.tables.first,
  });
  return {
    pages,
    entry: kernel.entry,
    stackPointer,
    startInfoPfn: plan.startInfo,
    storeMfn: plan.store,
    storePort,
    consoleMfn: plan.console,
    consolePort,
    pinned: { mfn: plan.tables.first, level: 4 },
    kernel,
    plan,
  };
}

const mib = (pages: number) => Math.ceil(pages / 256);

/** The mappings must not meet each other in one L4 slot, nor the hypervisor's slots. */
function checkSlots(kernel: KernelImage, plan: BuildPlan): void {
  const initial = rootSlots(kernel.virtBase, plan.mapped);
  const list = kernel.initP2m === undefined ? undefined : rootSlots(kernel.initP2m, plan.p2m.count);
  for (const slots of list ? [initial, list] : [initial]) {
    if (slots.last >= 256 && slots.first < 272) {
      throw new BuildError('the kernel wants to be mapped where the hypervisor is (0xffff800000000000)');
    }
  }
  if (list && list.last >= initial.first) {
    throw new BuildError('the kernel wants its p2m list within 512 GiB of its own address');
  }
}

/** A piece stays in the CPU's cache between its reading and its copying. */
const PIECE_BYTES = 64 * PAGE_SIZE;

/** Copy a segment page by page, leaving alone pages of zeros: new memory is zero, and bss stays free of cost. */
function loadSegment(memory: GuestMemory, file: KernelFile, segment: KernelSegment, pieces: Uint8Array): void {
  const to = memory.at(0) + segment.address;
  for (let done = 0; done < segment.length; ) {
    // Pages of the guest are pages of the piece.
    const first = (segment.address + done) % PAGE_SIZE;
    const end = Math.min(PIECE_BYTES, first + segment.length - done);
    file.read(segment.offset + done, pieces.subarray(first, end));
    for (let at = first; at < end; ) {
      const next = Math.min(at - (at % PAGE_SIZE) + PAGE_SIZE, end);
      const page = pieces.subarray(at, next);
      if (!isZero(page)) memory.u8.set(page, to + done);
      done += next - at;
      at = next;
    }
  }
}

function isZero(bytes: Uint8Array): boolean {
  let at = 0;
  // A kernel has 14 MB of zeros: four at a time.
  if ((bytes.byteOffset & 3) === 0) {
    const words = new Int32Array(bytes.buffer, bytes.byteOffset, bytes.length >>> 2);
    for (let i = 0; i < words.length; i++) if (words[i] !== 0) return false;
    at = 4 * words.length;
  }
  for (; at < bytes.length; at++) if (bytes[at] !== 0) return false;
  return true;
}

/** The list says that each pfn is its own mfn; entries behind the last page are invalid. */
function writeP2m(memory: GuestMemory, list: Frames, pages: number): void {
  const at = memory.at(list.first) >>> 2;
  for (let pfn = 0; pfn < pages; pfn++) memory.u32[at + 2 * pfn] = pfn;
  memory.u32.fill(0xffff_ffff, at + 2 * pages, at + (list.count * PAGE_SIZE) / 4);
}

function writeTables(memory: GuestMemory, kernel: KernelImage, plan: BuildPlan): void {
  const root = plan.tables.first;
  const isTable = (pfn: number) => pfn >= root && pfn < root + plan.tables.count;
  mapRange(memory, root, root + 1, kernel.virtBase, plan.mapped, 0, (pfn) =>
    isTable(pfn) ? READ_ONLY_FLAGS : PAGE_FLAGS,
  );
  if (kernel.initP2m === undefined) return;
  const { first, count } = plan.p2m;
  mapRange(memory, root, plan.p2mTables.first, kernel.initP2m, count, first, () => PAGE_FLAGS);
}

interface StartInfoValues {
  pages: number;
  cmdline: Uint8Array;
  initrdBytes: number;
  storePort: number;
  consolePort: number;
}

function writeStartInfo(memory: GuestMemory, kernel: KernelImage, plan: BuildPlan, values: StartInfoValues): void {
  const { view } = memory;
  const at = memory.at(plan.startInfo);
  const va = (pfn: number) => BigInt.asUintN(64, kernel.virtBase + BigInt(pfn) * BigInt(PAGE_SIZE));
  const sharedInfo = memory.layout.pages + SPECIAL.sharedInfo;
  memory.u8.set(utf8(START_INFO_MAGIC), at + START_INFO_BYTES.magic.offset);
  memory.u8.set(values.cmdline, at + START_INFO_BYTES.cmd_line.offset);
  StartInfo.nr_pages.set(view, at, BigInt(values.pages));
  StartInfo.shared_info.set(view, at, BigInt(sharedInfo) * BigInt(PAGE_SIZE));
  StartInfo.store_mfn.set(view, at, BigInt(plan.store));
  StartInfo.store_evtchn.set(view, at, values.storePort);
  StartInfo.console_mfn.set(view, at, BigInt(plan.console));
  StartInfo.console_evtchn.set(view, at, values.consolePort);
  StartInfo.pt_base.set(view, at, va(plan.tables.first));
  StartInfo.nr_pt_frames.set(view, at, BigInt(plan.tables.count));
  StartInfo.mfn_list.set(view, at, kernel.initP2m ?? va(plan.p2m.first));
  // The monitor never reads the guest's p2m, so the guest need not build the tree that would describe it.
  let flags: number = SIF.virt_p2m_4tools;
  if (values.initrdBytes > 0) {
    const { first } = plan.initrd;
    if (kernel.modStartPfn) flags |= SIF.mod_start_pfn;
    StartInfo.mod_start.set(view, at, kernel.modStartPfn ? BigInt(first) : va(first));
    StartInfo.mod_len.set(view, at, BigInt(values.initrdBytes));
  }
  StartInfo.flags.set(view, at, flags);
  if (kernel.initP2m !== undefined) {
    StartInfo.first_p2m_pfn.set(view, at, BigInt(plan.p2m.first));
    StartInfo.nr_p2m_frames.set(view, at, BigInt(plan.p2m.count + plan.p2mTables.count));
  }
}

function writeSharedInfo(memory: GuestMemory, clock: Clock): void {
  const at = memory.at(memory.layout.pages + SPECIAL.sharedInfo) + SHARED_INFO_ARRAYS.vcpu_info;
  for (let id = 0; id < LEGACY_MAX_VCPUS; id++)
    VcpuInfo.evtchn_upcall_mask.set(memory.view, at + id * VcpuInfo.size, 1);
  writeVcpuTime(memory, at, clock.now());
  writeWallclock(memory, clock);
}

function utf8(text: string): Uint8Array {
  const bytes: number[] = [];
  for (const char of text) {
    const code = char.codePointAt(0)!;
    if (code < 0x80) bytes.push(code);
    else if (code < 0x800) bytes.push(0xc0 | (code >> 6), 0x80 | (code & 0x3f));
    else if (code < 0x10000) bytes.push(0xe0 | (code >> 12), 0x80 | ((code >> 6) & 0x3f), 0x80 | (code & 0x3f));
    else
      bytes.push(0xf0 | (code >> 18), 0x80 | ((code >> 12) & 0x3f), 0x80 | ((code >> 6) & 0x3f), 0x80 | (code & 0x3f));
  }
  return Uint8Array.from(bytes);
}
