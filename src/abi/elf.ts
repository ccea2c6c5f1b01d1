/**
 * ELF64 files and Xen's notes in them. Layouts: the ELF specification; public/elfnote.h, pv-abi 1.2.
 */
import { struct, u8, u16, u32, u64 } from './struct.ts';

export const ElfHeader = struct('Elf64_Ehdr', 64, {
  magic: u32(0),
  class: u8(4),
  data: u8(5),
  ident_version: u8(6),
  type: u16(16),
  machine: u16(18),
  version: u32(20),
  entry: u64(24),
  phoff: u64(32),
  shoff: u64(40),
  ehsize: u16(52),
  phentsize: u16(54),
  phnum: u16(56),
  shentsize: u16(58),
  shnum: u16(60),
  shstrndx: u16(62),
});
export const ElfProgramHeader = struct('Elf64_Phdr', 56, {
  type: u32(0),
  flags: u32(4),
  offset: u64(8),
  vaddr: u64(16),
  paddr: u64(24),
  filesz: u64(32),
  memsz: u64(40),
  align: u64(48),
});
export const ElfSectionHeader = struct('Elf64_Shdr', 64, {
  name_offset: u32(0),
  type: u32(4),
  flags: u64(8),
  addr: u64(16),
  offset: u64(24),
  length: u64(32),
  link: u32(40),
  info: u32(44),
  addralign: u64(48),
  entsize: u64(56),
});
export const ElfSymbol = struct('Elf64_Sym', 24, {
  name_offset: u32(0),
  info: u8(4),
  section: u16(6),
  value: u64(8),
  length: u64(16),
});
export const ElfNoteHeader = struct('Elf64_Nhdr', 12, { namesz: u32(0), descsz: u32(4), type: u32(8) });

/** "\x7fELF", read as a little-endian word. */
export const ELF_MAGIC = 0x464c457f;
// biome-ignore format: a table
export const ELF = {
  class64: 2, dataLsb: 1, version: 1, machineX86_64: 62, ET_EXEC: 2, ET_DYN: 3, ET_CORE: 4,
  PT_LOAD: 1, PT_INTERP: 3, PT_NOTE: 4, SHT_PROGBITS: 1, SHT_SYMTAB: 2, SHT_STRTAB: 3, SHT_NOTE: 7, SHT_NOBITS: 8,
  SHF_WRITE: 1, SHF_ALLOC: 2, SHF_EXECINSTR: 4, STT_OBJECT: 1, STT_FUNC: 2,
} as const;

/** Types of notes whose owner is "Xen". */
// biome-ignore format: a table
export const XEN_ELFNOTE = {
  ENTRY: 1, HYPERCALL_PAGE: 2, VIRT_BASE: 3, PADDR_OFFSET: 4, XEN_VERSION: 5, GUEST_OS: 6, GUEST_VERSION: 7, LOADER: 8,
  PAE_MODE: 9, FEATURES: 10, BSD_SYMTAB: 11, HV_START_LOW: 12, L1_MFN_VALID: 13, SUSPEND_CANCEL: 14, INIT_P2M: 15,
  MOD_START_PFN: 16, SUPPORTED_FEATURES: 17, PHYS32_ENTRY: 18, PHYS32_RELOC: 19,
} as const;
