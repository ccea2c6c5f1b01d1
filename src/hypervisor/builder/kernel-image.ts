/**
 * Reads an uncompressed kernel: which bytes go where, and what its Xen notes ask for. Nothing in the file is trusted. A kernel
 * that cannot be started as a 64-bit PV domain is refused with one line that says why. Follows pv-abi 1.2 and 1.3.
 */
import {
  ELF,
  ELF_MAGIC,
  ElfHeader,
  ElfNoteHeader,
  ElfProgramHeader,
  ElfSectionHeader,
  XEN_ELFNOTE as NOTE,
} from '../../abi/elf.ts';
import { HYPERVISOR_VIRT_START } from '../../abi/numbers.ts';
import { PAGE_SIZE } from '../memory.ts';
import { type KernelFile, kernelInMemory } from './kernel-file.ts';

/** A kernel or a configuration from which no domain can be built. The message is one line for people. */
export class BuildError extends Error {
  override readonly name = 'BuildError';
}

export interface KernelSegment {
  /** Bytes of the file: `length` of them at `offset`. */
  readonly offset: number;
  readonly length: number;
  /** Where they go, in bytes of guest-physical memory; `size` includes what is to be zero behind them. */
  readonly address: number;
  readonly size: number;
}

export interface KernelImage {
  readonly segments: readonly KernelSegment[];
  /** First and last-but-one frame that the image occupies. */
  readonly startPfn: number;
  readonly endPfn: number;
  readonly entry: bigint;
  /** Virtual address of guest-physical address 0. */
  readonly virtBase: bigint;
  /** Where the p2m list is to be mapped; undefined: inside the initial region. */
  readonly initP2m: bigint | undefined;
  /** The initrd may be outside the initial mapping. */
  readonly modStartPfn: boolean;
  /** Frame to be filled with hypercall stubs. */
  readonly hypercallPagePfn: number | undefined;
  readonly guestOs: string;
  readonly guestVersion: string;
}

/** Features that a kernel may demand of the builder. */
const OFFERED_FEATURES = new Set([
  'writable_page_tables',
  'writable_descriptor_tables',
  'pae_pgdir_above_4gb',
  'mmu_pt_update_preserve_ad',
  'highmem_assist',
  'gnttab_map_avail_bits',
  'memory_op_vnode_supported',
]);

/** No kernel is loaded beyond this; keeps all arithmetic exact. */
const ADDRESS_LIMIT = 2n ** 40n;
/** Nobody has more program headers or section headers; a hostile file must not keep us busy. */
const HEADERS_MAX = 4096;
/** Linux has some hundred bytes of notes in a segment. */
const NOTES_BYTES_MAX = 1 << 16;
const CANONICAL_LOW = 0x0000_8000_0000_0000n;
const CANONICAL_HIGH = 0xffff_8000_0000_0000n;

export function parseKernel(elf: Uint8Array | KernelFile): KernelImage {
  const file = elf instanceof Uint8Array ? kernelInMemory(elf) : elf;
  const header = piece(file, 0, ElfHeader.size);
  checkHeader(header);
  const headers = programHeaders(file, header);
  const notes = findNotes(file, header, headers);
  if (notes.size === 0)
    throw new BuildError('the kernel has no Xen notes: it was built without support for Xen PV domains');
  checkNotes(notes);

  const virtBase = notes.number(NOTE.VIRT_BASE) ?? 0n;
  if (virtBase % BigInt(PAGE_SIZE) !== 0n)
    throw new BuildError(`the kernel's VIRT_BASE ${hex(virtBase)} is not page-aligned`);
  const segments = loadSegments(file, headers, notes.number(NOTE.PADDR_OFFSET) ?? 0n);
  const startPfn = Math.floor(Math.min(...segments.map((s) => s.address)) / PAGE_SIZE);
  const endPfn = Math.ceil(Math.max(...segments.map((s) => s.address + s.size)) / PAGE_SIZE);

  const entry = notes.number(NOTE.ENTRY) ?? ElfHeader.entry.get(header, 0);
  const entryPfn = (entry - virtBase) >> 12n;
  if (entryPfn < BigInt(startPfn) || entryPfn >= BigInt(endPfn)) {
    throw new BuildError(`the kernel's entry ${hex(entry)} lies outside what it loads`);
  }
  const initP2m = notes.number(NOTE.INIT_P2M);
  const separate = initP2m !== undefined && initP2m < virtBase && initP2m % BigInt(PAGE_SIZE) === 0n;
  if (separate && initP2m >= CANONICAL_LOW && initP2m < CANONICAL_HIGH) {
    throw new BuildError(`the kernel wants its p2m list at ${hex(initP2m)}, which is no address`);
  }
  return {
    segments,
    startPfn,
    endPfn,
    entry,
    virtBase,
    initP2m: separate ? initP2m : undefined,
    modStartPfn: (notes.number(NOTE.MOD_START_PFN) ?? 0n) !== 0n,
    hypercallPagePfn: hypercallPage(notes, virtBase, startPfn, endPfn),
    guestOs: notes.text(NOTE.GUEST_OS) ?? '',
    guestVersion: notes.text(NOTE.GUEST_VERSION) ?? '',
  };
}

/** Bytes of the file, as many of `length` as there are. */
function piece(file: KernelFile, offset: number, length: number): DataView {
  const bytes = new Uint8Array(Math.max(0, Math.min(length, file.size - offset)));
  file.read(offset, bytes);
  return new DataView(bytes.buffer);
}

function hex(value: bigint): string {
  return '0x' + BigInt.asUintN(64, value).toString(16);
}

function checkHeader(view: DataView): void {
  if (view.byteLength < ElfHeader.size || ElfHeader.magic.get(view, 0) !== ELF_MAGIC) {
    throw new BuildError('the kernel is not an ELF file');
  }
  if (ElfHeader.class.get(view, 0) !== ELF.class64 || ElfHeader.data.get(view, 0) !== ELF.dataLsb) {
    throw new BuildError('the kernel is not a 64-bit little-endian ELF file: only 64-bit kernels are supported');
  }
  const machine = ElfHeader.machine.get(view, 0);
  if (machine !== ELF.machineX86_64)
    throw new BuildError(`the kernel is for ELF machine ${machine}, not for x86-64 (62)`);
}

interface ProgramHeader {
  type: number;
  offset: bigint;
  paddr: bigint;
  filesz: bigint;
  memsz: bigint;
}

function programHeaders(file: KernelFile, elf: DataView): ProgramHeader[] {
  const table = ElfHeader.phoff.get(elf, 0);
  const count = ElfHeader.phnum.get(elf, 0);
  const stride = ElfHeader.phentsize.get(elf, 0);
  if (stride < ElfProgramHeader.size || count > HEADERS_MAX || table + BigInt(count * stride) > BigInt(file.size)) {
    throw new BuildError("the kernel's program headers lie outside the file: it is cut short or damaged");
  }
  return Array.from({ length: count }, (_, i) => {
    const view = piece(file, Number(table) + i * stride, ElfProgramHeader.size);
    const header = {
      type: ElfProgramHeader.type.get(view, 0),
      offset: ElfProgramHeader.offset.get(view, 0),
      paddr: ElfProgramHeader.paddr.get(view, 0),
      filesz: ElfProgramHeader.filesz.get(view, 0),
      memsz: ElfProgramHeader.memsz.get(view, 0),
    };
    if (header.type === ELF.PT_LOAD || header.type === ELF.PT_NOTE) {
      if (header.offset + header.filesz > BigInt(file.size)) {
        throw new BuildError(`the kernel's segment ${i} lies outside the file: it is cut short or damaged`);
      }
    }
    return header;
  });
}

function loadSegments(file: KernelFile, headers: ProgramHeader[], paddrOffset: bigint): KernelSegment[] {
  const segments: KernelSegment[] = [];
  for (const header of headers) {
    if (header.type !== ELF.PT_LOAD || header.memsz === 0n) continue;
    // By physical address, never by virtual: the per-CPU segment has virtual address 0.
    const address = header.paddr - paddrOffset;
    if (address < 0n || address + header.memsz > ADDRESS_LIMIT || header.filesz > header.memsz) {
      throw new BuildError(`the kernel's segment at ${hex(header.paddr)} cannot be loaded: bad address or size`);
    }
    segments.push({
      offset: Number(header.offset),
      length: Number(header.filesz),
      address: Number(address),
      size: Number(header.memsz),
    });
  }
  if (segments.length === 0) throw new BuildError(`the kernel (${file.size} bytes) has nothing to load`);
  return segments;
}

function checkNotes(notes: XenNotes): void {
  const version = notes.text(NOTE.XEN_VERSION);
  if (version !== undefined && !version.startsWith('xen-3.0')) {
    throw new BuildError(`the kernel wants the Xen interface "${version}"; only "xen-3.0" is supported`);
  }
  const loader = notes.text(NOTE.LOADER);
  if (loader !== undefined && !loader.startsWith('generic') && notes.text(NOTE.GUEST_OS) !== 'linux') {
    throw new BuildError(`the kernel wants the loader "${loader}"; only "generic" is supported`);
  }
  for (const name of (notes.text(NOTE.FEATURES) ?? '').split('|')) {
    if (name.startsWith('!') && !OFFERED_FEATURES.has(name.slice(1))) {
      throw new BuildError(`the kernel needs the Xen feature "${name.slice(1)}", which PV domains do not have here`);
    }
  }
  const hole = notes.number(NOTE.HV_START_LOW);
  if (hole !== undefined && hole > HYPERVISOR_VIRT_START) {
    throw new BuildError(
      `the kernel leaves the hypervisor addresses from ${hex(hole)}; it needs them from ${hex(HYPERVISOR_VIRT_START)}`,
    );
  }
}

function hypercallPage(notes: XenNotes, virtBase: bigint, startPfn: number, endPfn: number): number | undefined {
  const address = notes.number(NOTE.HYPERCALL_PAGE);
  if (address === undefined) return undefined;
  const pfn = (address - virtBase) >> 12n;
  if (address % BigInt(PAGE_SIZE) !== 0n || pfn < BigInt(startPfn) || pfn >= BigInt(endPfn)) {
    throw new BuildError(`the kernel's hypercall page ${hex(address)} is not a page of its image`);
  }
  return Number(pfn);
}

/** The notes whose owner is "Xen": type to bytes. */
class XenNotes {
  private readonly found = new Map<number, Uint8Array>();

  get size(): number {
    return this.found.size;
  }

  /** A number of 4 or 8 bytes. */
  number(type: number): bigint | undefined {
    const bytes = this.found.get(type);
    if (bytes === undefined) return undefined;
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    if (bytes.length >= 8) return view.getBigUint64(0, true);
    return bytes.length >= 4 ? BigInt(view.getUint32(0, true)) : undefined;
  }

  /** Text, with or without its NUL. */
  text(type: number): string | undefined {
    const bytes = this.found.get(type);
    if (bytes === undefined) return undefined;
    const end = bytes.indexOf(0);
    const text = String.fromCharCode(...bytes.subarray(0, Math.min(end < 0 ? bytes.length : end, 256)));
    return text.replace(/[^\x20-\x7e]/g, '?');
  }

  /** Read the notes that begin `view`, as far as they are sound. */
  read(view: DataView): void {
    const end = view.byteLength;
    let at = 0;
    while (at + ElfNoteHeader.size <= end) {
      const nameSize = ElfNoteHeader.namesz.get(view, at);
      const size = ElfNoteHeader.descsz.get(view, at);
      const type = ElfNoteHeader.type.get(view, at);
      const name = at + ElfNoteHeader.size;
      const desc = name + Math.ceil(nameSize / 4) * 4;
      at = desc + Math.ceil(size / 4) * 4;
      if (desc + size > end) return;
      // "Xen\0"
      if (nameSize !== 4 || view.getUint32(name, true) !== 0x006e6558) continue;
      this.found.set(type, new Uint8Array(view.buffer, desc, size));
    }
  }
}

/** Notes are in PT_NOTE segments; a file without them may have note sections. */
function findNotes(file: KernelFile, elf: DataView, headers: ProgramHeader[]): XenNotes {
  const notes = new XenNotes();
  const read = (offset: bigint, length: bigint): void =>
    notes.read(piece(file, Number(offset), Math.min(Number(length), NOTES_BYTES_MAX)));
  for (const header of headers) if (header.type === ELF.PT_NOTE) read(header.offset, header.filesz);
  if (notes.size > 0) return notes;
  const table = ElfHeader.shoff.get(elf, 0);
  const count = ElfHeader.shnum.get(elf, 0);
  const stride = ElfHeader.shentsize.get(elf, 0);
  const limit = BigInt(file.size);
  if (stride < ElfSectionHeader.size || count > HEADERS_MAX || table + BigInt(count * stride) > limit) return notes;
  for (let i = 0; i < count; i++) {
    const view = piece(file, Number(table) + i * stride, ElfSectionHeader.size);
    const offset = ElfSectionHeader.offset.get(view, 0);
    const length = ElfSectionHeader.length.get(view, 0);
    if (ElfSectionHeader.type.get(view, 0) === ELF.SHT_NOTE && offset + length <= limit) read(offset, length);
  }
  return notes;
}
