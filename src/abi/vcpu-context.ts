/**
 * vcpu_guest_context: the state with which VCPUOP_initialise starts a vCPU. Layout: public/arch-x86/xen.h; pv-abi 2.12.
 */
import { struct, u8, u16, u32, u64 } from './struct.ts';

export const VcpuGuestContext = struct('vcpu_guest_context', 5168, {
  flags: u64(0x200),
  ldt_base: u64(0x12d0),
  ldt_ents: u64(0x12d8),
  gdt_ents: u64(0x1360),
  kernel_ss: u64(0x1368),
  kernel_sp: u64(0x1370),
  event_callback_eip: u64(0x13f8),
  failsafe_callback_eip: u64(0x1400),
  syscall_callback_eip: u64(0x1408),
  vm_assist: u64(0x1410),
  fs_base: u64(0x1418),
  gs_base_kernel: u64(0x1420),
  gs_base_user: u64(0x1428),
});
/** Arrays and structures inside it: FXSAVE image, cpu_user_regs, trap_info[256], u64 gdt_frames[16], ctrlreg[8], debugreg[8]. */
// biome-ignore format: a table
export const VCPU_CONTEXT_PARTS = {
  fpu: 0, user_regs: 0x208, trap_ctxt: 0x2d0, gdt_frames: 0x12e0, ctrlreg: 0x1378, debugreg: 0x13b8,
} as const;

export const CpuUserRegs = struct('cpu_user_regs', 200, {
  r15: u64(0x00),
  r14: u64(0x08),
  r13: u64(0x10),
  r12: u64(0x18),
  rbp: u64(0x20),
  rbx: u64(0x28),
  r11: u64(0x30),
  r10: u64(0x38),
  r9: u64(0x40),
  r8: u64(0x48),
  rax: u64(0x50),
  rcx: u64(0x58),
  rdx: u64(0x60),
  rsi: u64(0x68),
  rdi: u64(0x70),
  error_code: u32(0x78),
  entry_vector: u32(0x7c),
  rip: u64(0x80),
  cs: u16(0x88),
  saved_upcall_mask: u8(0x8c),
  rflags: u64(0x90),
  rsp: u64(0x98),
  ss: u16(0xa0),
  es: u16(0xa8),
  ds: u16(0xb0),
  fs: u16(0xb8),
  gs: u16(0xc0),
});
