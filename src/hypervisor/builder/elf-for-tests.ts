/**
 * Makes small PV kernels for tests: an ELF file with segments and Xen notes, from values.
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

export interface TestSegment {
  readonly paddr: number;
  readonly bytes: Uint8Array;
  /** Size in memory, when it is more than the bytes. */
  readonly memsz?: number;
}
export type TestNotes = Readonly<Record<number, bigint | string | Uint8Array>>;

/** The notes of a Linux kernel. */
export const LINUX_NOTES: TestNotes = {
  [NOTE.ENTRY]: 0xffffffff8304e1c0n,
  [NOTE.VIRT_BASE]: 0xffffffff80000000n,
  [NOTE.PADDR_OFFSET]: 0n,
  [NOTE.XEN_VERSION]: 'xen-3.0',
  [NOTE.GUEST_OS]: 'linux',
  [NOTE.GUEST_VERSION]: '2.6',
  [NOTE.LOADER]: 'generic',
  [NOTE.FEATURES]: '!writable_page_tables|pae_pgdir_above_4gb',
  [NOTE.HV_START_LOW]: 0xffff800000000000n,
  [NOTE.INIT_P2M]: 0x8000000000n,
  [NOTE.MOD_START_PFN]: 1n,
};

function noteBytes(notes: TestNotes): Uint8Array {
  const parts: number[] = [];
  for (const [type, value] of Object.entries(notes)) {
    let desc: Uint8Array;
    if (typeof value === 'bigint') {
      desc = new Uint8Array(8);
      new DataView(desc.buffer).setBigUint64(0, value, true);
    } else desc = typeof value === 'string' ? Uint8Array.from(value, (c) => c.charCodeAt(0)) : value;
    const header = new Uint8Array(ElfNoteHeader.size);
    const view = new DataView(header.buffer);
    ElfNoteHeader.namesz.set(view, 0, 4);
    ElfNoteHeader.descsz.set(view, 0, desc.length);
    ElfNoteHeader.type.set(view, 0, Number(type));
    parts.push(...header, 0x58, 0x65, 0x6e, 0, ...desc);
    while (parts.length % 4) parts.push(0);
  }
  return Uint8Array.from(parts);
}

export function makeKernel(
  segments: readonly TestSegment[],
  notes: TestNotes,
  notesIn: 'segment' | 'section' = 'segment',
): Uint8Array {
  const note = noteBytes(notes);
  const headers = segments.length + (notesIn === 'segment' ? 1 : 0);
  const sectionTable = 64 + headers * ElfProgramHeader.size;
  const noteAt = sectionTable + ElfSectionHeader.size;
  let size = Math.ceil((noteAt + note.length) / 4096) * 4096;
  const offsets = segments.map((segment) => {
    const at = size;
    size += segment.bytes.length;
    return at;
  });
  const file = new Uint8Array(size);
  const view = new DataView(file.buffer);
  ElfHeader.magic.set(view, 0, ELF_MAGIC);
  ElfHeader.class.set(view, 0, ELF.class64);
  ElfHeader.data.set(view, 0, ELF.dataLsb);
  ElfHeader.machine.set(view, 0, ELF.machineX86_64);
  ElfHeader.phoff.set(view, 0, 64n);
  ElfHeader.phentsize.set(view, 0, ElfProgramHeader.size);
  ElfHeader.phnum.set(view, 0, headers);
  ElfHeader.shoff.set(view, 0, BigInt(sectionTable));
  ElfHeader.shentsize.set(view, 0, ElfSectionHeader.size);
  ElfHeader.shnum.set(view, 0, notesIn === 'section' ? 1 : 0);
  segments.forEach((segment, i) => {
    const at = 64 + i * ElfProgramHeader.size;
    ElfProgramHeader.type.set(view, at, ELF.PT_LOAD);
    ElfProgramHeader.offset.set(view, at, BigInt(offsets[i]!));
    // Virtual addresses are wrong on purpose: loading must not use them.
    ElfProgramHeader.vaddr.set(view, at, 0n);
    ElfProgramHeader.paddr.set(view, at, BigInt(segment.paddr));
    ElfProgramHeader.filesz.set(view, at, BigInt(segment.bytes.length));
    ElfProgramHeader.memsz.set(view, at, BigInt(segment.memsz ?? segment.bytes.length));
    file.set(segment.bytes, offsets[i]!);
  });
  if (notesIn === 'segment') {
    const at = 64 + segments.length * ElfProgramHeader.size;
    ElfProgramHeader.type.set(view, at, ELF.PT_NOTE);
    ElfProgramHeader.offset.set(view, at, BigInt(noteAt));
    ElfProgramHeader.filesz.set(view, at, BigInt(note.length));
  } else {
    ElfSectionHeader.type.set(view, sectionTable, ELF.SHT_NOTE);
    ElfSectionHeader.offset.set(view, sectionTable, BigInt(noteAt));
    ElfSectionHeader.length.set(view, sectionTable, BigInt(note.length));
  }
  file.set(note, noteAt);
  return file;
}
