/**
 * A domain's core file: everything in front of its RAM, made from its memory while nothing runs in it. One file serves two
 * kinds of readers. gdb reads the program headers: registers, and every run of pages that the guest's kernel has mapped.
 * crash and other tools for Xen read the sections of Xen's dump-core format. Both find the same bytes of RAM.
 */
import {
  NT_PRSTATUS,
  PRSTATUS_REGS,
  ElfPrstatus as Prstatus,
  XEN_CORE_FORMAT,
  XEN_CORE_MAGIC,
  XEN_DUMPCORE,
  XenDumpcoreHeader,
  XenDumpcoreP2m,
  XenDumpcoreVersion,
} from '../abi/core-file.ts';
import { ELF, ELF_MAGIC, ElfHeader, ElfNoteHeader, ElfProgramHeader, ElfSectionHeader } from '../abi/elf.ts';
import { HYPERVISOR_VIRT_START, PTE } from '../abi/numbers.ts';
import { CpuUserRegs, VCPU_CONTEXT_PARTS, VcpuGuestContext } from '../abi/vcpu-context.ts';
import { readFlags } from '../x86/flags.ts';
import { GPR, SEG, STATE } from '../x86/state.ts';
import { type GuestMemory, PAGE_SIZE, SPECIAL } from './memory.ts';
import { FRAME_HIGH, HOLE_END, NO_ROOT } from './mmu/walk.ts';

/** Where Linux has all of RAM. */
const DIRECT_MAP = 0xffff_8880_0000_0000n;
const DIRECT_MAP_PAGE = Number(BigInt.asUintN(48, DIRECT_MAP) >> 12n);
/** Tables looked through at most: a guest can make its tables refer to each other without end. */
const TABLES_MAX = 50_000;
/** ELF counts program headers in 16 bits. */
const RUNS_MAX = 60_000;
/** Linux maps one page tens of thousands of times for returns with 16-bit stacks (espfix): the first few say it all. */
const ALIASES_MAX = 4;

/** Pages of guest-virtual memory that are one piece of RAM. `page`: bits 12–47 of the address. */
export interface Run {
  readonly page: number;
  readonly pfn: number;
  count: number;
}

/** What the kernel half of the page tables under `root` maps to RAM, apart from the direct map. */
export function kernelRuns(memory: GuestMemory, root: number): Run[] {
  const { u32, layout } = memory;
  const runs: Run[] = [];
  const aliases = new Uint8Array(layout.pages);
  let tables = 0;
  const look = (table: number, level: number, base: number): void => {
    if (++tables > TABLES_MAX) return;
    const words = memory.at(table) / 4;
    for (let index = level === 4 ? HOLE_END : 0; index < 512 && runs.length < RUNS_MAX; index++) {
      const entry = u32[words + 2 * index]!;
      if ((entry & PTE.P) === 0 || (u32[words + 2 * index + 1]! & FRAME_HIGH) !== 0) continue;
      const pfn = entry >>> 12;
      if (pfn >= layout.pages) continue;
      const page = base + index * 512 ** (level - 1);
      if (level > 1) look(pfn, level - 1, page);
      else if (page !== DIRECT_MAP_PAGE + pfn && aliases[pfn]! < ALIASES_MAX) {
        aliases[pfn]!++;
        note(page, pfn);
      }
    }
  };
  const note = (page: number, pfn: number): void => {
    const last = runs.at(-1);
    if (last && last.page + last.count === page && last.pfn + last.count === pfn) last.count++;
    else runs.push({ page, pfn, count: 1 });
  };
  if (root !== NO_ROOT && root < layout.pages) look(root, 4, 0);
  return runs;
}

const align = (size: number, to: number): number => Math.ceil(size / to) * to;

function note(owner: string, type: number, desc: Uint8Array): Uint8Array {
  const at = ElfNoteHeader.size;
  const descAt = at + align(owner.length + 1, 4);
  const bytes = new Uint8Array(descAt + align(desc.length, 4));
  const view = new DataView(bytes.buffer);
  ElfNoteHeader.namesz.set(view, 0, owner.length + 1);
  ElfNoteHeader.descsz.set(view, 0, desc.length);
  ElfNoteHeader.type.set(view, 0, type);
  bytes.set(text(owner), at);
  bytes.set(desc, descAt);
  return bytes;
}

const text = (value: string): Uint8Array => Uint8Array.from(value, (char) => char.charCodeAt(0));

/** Registers of a vCPU by name, from its state block. */
function registers({ view }: GuestMemory, base: number): (name: string) => bigint {
  const u64 = (offset: number) => view.getBigUint64(base + offset, true);
  const special: Record<string, bigint> = {
    rip: u64(STATE.rip),
    rflags: BigInt(readFlags(view, base)),
    fs_base: u64(STATE.fsBase),
    gs_base: u64(STATE.gsBase),
    // No system call is being restarted.
    orig_rax: 0xffff_ffff_ffff_ffffn,
  };
  return (name) => {
    const slot = SEG[name as keyof typeof SEG];
    if (slot !== undefined) return BigInt(view.getUint32(base + STATE.selector + 4 * slot, true) & 0xffff);
    return special[name] ?? u64(STATE.gpr + 8 * GPR[name as keyof typeof GPR]);
  };
}

function prstatus(memory: GuestMemory, vcpu: number): Uint8Array {
  const desc = new Uint8Array(Prstatus.size);
  const view = new DataView(desc.buffer);
  const register = registers(memory, memory.vcpuBase(vcpu));
  Prstatus.pid.set(view, 0, vcpu + 1);
  PRSTATUS_REGS.forEach((name, i) => {
    view.setBigUint64(Prstatus.r15.offset + 8 * i, register(name), true);
  });
  return note('CORE', NT_PRSTATUS, desc);
}

/** What the state block knows of a vcpu_guest_context: registers, page-table roots, segment bases. */
function guestContext(memory: GuestMemory, vcpu: number): Uint8Array {
  const bytes = new Uint8Array(VcpuGuestContext.size);
  const view = new DataView(bytes.buffer);
  const base = memory.vcpuBase(vcpu);
  const register = registers(memory, base);
  for (const [name, field] of Object.entries(CpuUserRegs)) {
    if (typeof field !== 'object' || ['error_code', 'entry_vector', 'saved_upcall_mask'].includes(name)) continue;
    const value = register(name);
    const set = field.set as (view: DataView, base: number, value: bigint | number) => void;
    set(view, VCPU_CONTEXT_PARTS.user_regs, field.size === 8 ? value : Number(value));
  }
  const control = (number: number, root: number) => {
    if (root !== NO_ROOT) view.setBigUint64(VCPU_CONTEXT_PARTS.ctrlreg + 8 * number, BigInt(root) << 12n, true);
  };
  control(3, memory.view.getUint32(base + STATE.kernelRoot, true));
  control(1, memory.view.getUint32(base + STATE.userRoot, true));
  VcpuGuestContext.fs_base.set(view, 0, register('fs_base'));
  const kernel = memory.view.getUint32(base + STATE.kernelMode, true) !== 0;
  const inactive = memory.view.getBigUint64(base + (kernel ? STATE.gsBaseUser : STATE.gsBaseKernel), true);
  VcpuGuestContext.gs_base_kernel.set(view, 0, kernel ? register('gs_base') : inactive);
  VcpuGuestContext.gs_base_user.set(view, 0, kernel ? inactive : register('gs_base'));
  return bytes;
}

function xenNotes(vcpus: number, pages: number): Uint8Array {
  const header = new DataView(new ArrayBuffer(XenDumpcoreHeader.size));
  XenDumpcoreHeader.magic.set(header, 0, XEN_CORE_MAGIC);
  XenDumpcoreHeader.nr_vcpus.set(header, 0, BigInt(vcpus));
  XenDumpcoreHeader.nr_pages.set(header, 0, BigInt(pages));
  XenDumpcoreHeader.page_size.set(header, 0, BigInt(PAGE_SIZE));
  const version = new DataView(new ArrayBuffer(XenDumpcoreVersion.size));
  XenDumpcoreVersion.major.set(version, 0, 4n);
  XenDumpcoreVersion.minor.set(version, 0, 17n);
  XenDumpcoreVersion.virt_start.set(version, 0, HYPERVISOR_VIRT_START);
  XenDumpcoreVersion.page_size.set(version, 0, BigInt(PAGE_SIZE));
  const format = new Uint8Array(new BigUint64Array([XEN_CORE_FORMAT]).buffer);
  return concat([
    note('Xen', XEN_DUMPCORE.NONE, new Uint8Array(0)),
    note('Xen', XEN_DUMPCORE.HEADER, new Uint8Array(header.buffer)),
    note('Xen', XEN_DUMPCORE.XEN_VERSION, new Uint8Array(version.buffer)),
    note('Xen', XEN_DUMPCORE.FORMAT, format),
  ]);
}

function concat(parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** Frame numbers and machine frame numbers are the same. */
function p2m(pages: number): Uint8Array {
  const words = new BigUint64Array((pages * XenDumpcoreP2m.size) / 8);
  for (let pfn = 0; pfn < pages; pfn++) words[2 * pfn] = words[2 * pfn + 1] = BigInt(pfn);
  return new Uint8Array(words.buffer);
}

interface Section {
  readonly name: string;
  readonly type: number;
  readonly bytes: Uint8Array;
  readonly entry?: number;
}

/** The file up to its RAM. RAM, all frames from 0 on, follows at the end of these bytes, which is a page boundary. */
export function coreHead(memory: GuestMemory): Uint8Array {
  const { pages, vcpus } = memory.layout;
  const ids = Array.from({ length: vcpus }, (_, id) => id);
  const gdbNotes = concat(ids.map((id) => prstatus(memory, id)));
  const sections: Section[] = [
    { name: '.note.Xen', type: ELF.SHT_NOTE, bytes: xenNotes(vcpus, pages) },
    {
      name: '.xen_prstatus',
      type: ELF.SHT_PROGBITS,
      bytes: concat(ids.map((id) => guestContext(memory, id))),
      entry: VcpuGuestContext.size,
    },
    {
      name: '.xen_shared_info',
      type: ELF.SHT_PROGBITS,
      bytes: memory.frame(pages + SPECIAL.sharedInfo).slice(),
      entry: PAGE_SIZE,
    },
    { name: '.xen_p2m', type: ELF.SHT_PROGBITS, bytes: p2m(pages), entry: XenDumpcoreP2m.size },
  ];
  const runs = kernelRuns(memory, memory.view.getUint32(memory.vcpuBase(0) + STATE.kernelRoot, true));
  return layOut(sections, gdbNotes, [{ page: DIRECT_MAP_PAGE, pfn: 0, count: pages }, ...runs], pages);
}

function layOut(sections: readonly Section[], notes: Uint8Array, runs: readonly Run[], pages: number): Uint8Array {
  const all: Section[] = [
    ...sections,
    { name: '.xen_pages', type: ELF.SHT_PROGBITS, bytes: new Uint8Array(0), entry: PAGE_SIZE },
  ];
  const names = text(['', ...all.map(({ name }) => name), '.shstrtab', ''].join('\0'));
  all.push({ name: '.shstrtab', type: ELF.SHT_STRTAB, bytes: names });
  const sectionTable = ElfHeader.size;
  let at = sectionTable + ElfSectionHeader.size * (1 + all.length);
  const place = (size: number) => {
    const here = align(at, 8);
    at = here + size;
    return here;
  };
  const notesAt = place(notes.length);
  const places = all.map(({ bytes }) => place(bytes.length));
  // Program headers in the first bytes of a file make crash take it for a kernel's own dump, in which it does not look for
  // the guest's frame numbers: it translates by .xen_p2m in what is Xen's file and nothing else. gdb finds them anywhere.
  const programs = place(ElfProgramHeader.size * (1 + runs.length));
  const ram = align(at, PAGE_SIZE);
  const bytes = new Uint8Array(ram);
  const view = new DataView(bytes.buffer);

  header(view, programs, 1 + runs.length, sectionTable, 1 + all.length);
  program(view, programs, ELF.PT_NOTE, notesAt, notes.length, 0n, 0);
  bytes.set(notes, notesAt);
  runs.forEach(({ page, pfn, count }, i) => {
    const va = BigInt.asUintN(64, BigInt.asIntN(48, BigInt(page) << 12n));
    const where = programs + ElfProgramHeader.size * (1 + i);
    program(view, where, ELF.PT_LOAD, ram + pfn * PAGE_SIZE, count * PAGE_SIZE, va, pfn * PAGE_SIZE);
  });
  all.forEach(({ name, type, bytes: content, entry = 0 }, i) => {
    const where = sectionTable + ElfSectionHeader.size * (1 + i);
    const isPages = name === '.xen_pages';
    ElfSectionHeader.name_offset.set(view, where, nameOffset(names, name));
    ElfSectionHeader.type.set(view, where, type);
    ElfSectionHeader.offset.set(view, where, BigInt(isPages ? ram : places[i]!));
    ElfSectionHeader.length.set(view, where, BigInt(isPages ? pages * PAGE_SIZE : content.length));
    ElfSectionHeader.addralign.set(view, where, BigInt(isPages ? PAGE_SIZE : 8));
    ElfSectionHeader.entsize.set(view, where, BigInt(entry));
    bytes.set(content, places[i]!);
  });
  return bytes;
}

function nameOffset(names: Uint8Array, name: string): number {
  return String.fromCharCode(...names).indexOf(`\0${name}\0`) + 1;
}

function header(view: DataView, programs: number, programCount: number, sections: number, sectionCount: number): void {
  const set = <T>(field: { set(view: DataView, base: number, value: T): void }, value: T) => field.set(view, 0, value);
  set(ElfHeader.magic, ELF_MAGIC);
  set(ElfHeader.class, ELF.class64);
  set(ElfHeader.data, ELF.dataLsb);
  set(ElfHeader.ident_version, ELF.version);
  set(ElfHeader.type, ELF.ET_CORE);
  set(ElfHeader.machine, ELF.machineX86_64);
  set(ElfHeader.version, ELF.version);
  set(ElfHeader.ehsize, ElfHeader.size);
  set(ElfHeader.phoff, BigInt(programs));
  set(ElfHeader.phentsize, ElfProgramHeader.size);
  set(ElfHeader.phnum, programCount);
  set(ElfHeader.shoff, BigInt(sections));
  set(ElfHeader.shentsize, ElfSectionHeader.size);
  set(ElfHeader.shnum, sectionCount);
  set(ElfHeader.shstrndx, sectionCount - 1);
}

const READ_WRITE_EXECUTE = 7;

function program(
  view: DataView,
  where: number,
  type: number,
  offset: number,
  size: number,
  va: bigint,
  pa: number,
): void {
  ElfProgramHeader.type.set(view, where, type);
  ElfProgramHeader.flags.set(view, where, type === ELF.PT_LOAD ? READ_WRITE_EXECUTE : 0);
  ElfProgramHeader.offset.set(view, where, BigInt(offset));
  ElfProgramHeader.vaddr.set(view, where, va);
  ElfProgramHeader.paddr.set(view, where, BigInt(pa));
  ElfProgramHeader.filesz.set(view, where, BigInt(size));
  ElfProgramHeader.memsz.set(view, where, type === ELF.PT_LOAD ? BigInt(size) : 0n);
  ElfProgramHeader.align.set(view, where, type === ELF.PT_LOAD ? BigInt(PAGE_SIZE) : 0n);
}
