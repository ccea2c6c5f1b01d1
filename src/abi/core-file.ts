/**
 * What is in a core file: Linux's register note, which gdb reads, and Xen's notes and sections, which tools for Xen read.
 * Layouts: elf_prstatus and user_regs_struct of Linux for x86-64; Xen's dump-core format, version 1.
 */
import { struct, u32, u64 } from './struct.ts';

/** A note of owner "CORE" and this type for each CPU. */
export const NT_PRSTATUS = 1;
export const ElfPrstatus = struct('elf_prstatus', 336, {
  signal: u32(0),
  pid: u32(32),
  r15: u64(112),
  fpvalid: u32(328),
});
/** Registers from ElfPrstatus.r15 on, 8 bytes each. */
// biome-ignore format: a table
export const PRSTATUS_REGS = [
  'r15', 'r14', 'r13', 'r12', 'rbp', 'rbx', 'r11', 'r10', 'r9', 'r8', 'rax', 'rcx', 'rdx', 'rsi', 'rdi', 'orig_rax',
  'rip', 'cs', 'rflags', 'rsp', 'ss', 'fs_base', 'gs_base', 'ds', 'es', 'fs', 'gs',
] as const;

/** Types of notes of owner "Xen". */
export const XEN_DUMPCORE = { NONE: 0x2000000, HEADER: 0x2000001, XEN_VERSION: 0x2000002, FORMAT: 0x2000003 } as const;
/** Of a domain whose pages are listed with their frames. */
export const XEN_CORE_MAGIC = 0xf00febedn;
export const XEN_CORE_FORMAT = 1n;
export const XenDumpcoreHeader = struct('xen_dumpcore_elfnote_header_desc', 32, {
  magic: u64(0),
  nr_vcpus: u64(8),
  nr_pages: u64(16),
  page_size: u64(24),
});
/** Strings follow at 16 (extraversion), 32 (compile_info), 176 (capabilities) and 1200 (changeset). */
export const XenDumpcoreVersion = struct('xen_dumpcore_elfnote_xen_version_desc', 1280, {
  major: u64(0),
  minor: u64(8),
  virt_start: u64(1264),
  page_size: u64(1272),
});
/** An entry of .xen_p2m. */
export const XenDumpcoreP2m = struct('xen_dumpcore_p2m', 16, { pfn: u64(0), gmfn: u64(8) });
