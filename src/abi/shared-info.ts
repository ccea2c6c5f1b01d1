/**
 * shared_info and what is in it: vcpu_info, time, event bitmaps. Layouts: public/xen.h, public/arch-x86/xen.h; pv-abi 1.9.
 */
import { struct, u8, u32, u64 } from './struct.ts';

export const VcpuTimeInfo = struct('vcpu_time_info', 32, {
  version: u32(0),
  tsc_timestamp: u64(0x08),
  /** Nanoseconds. */
  system_time: u64(0x10),
  tsc_to_system_mul: u32(0x18),
  /** Signed; positive shifts left. */
  tsc_shift: u8(0x1c),
  flags: u8(0x1d),
});

export const VcpuInfo = struct('vcpu_info', 64, {
  evtchn_upcall_pending: u8(0x00),
  evtchn_upcall_mask: u8(0x01),
  evtchn_pending_sel: u64(0x08),
  arch_cr2: u64(0x10),
});
/** Where the vcpu_time_info is in a vcpu_info. */
export const VCPU_INFO_TIME = 0x20;

export const SharedInfo = struct('shared_info', 0xc40, {
  wc_version: u32(0xc00),
  wc_sec: u32(0xc04),
  wc_nsec: u32(0xc08),
  wc_sec_hi: u32(0xc0c),
  max_pfn: u64(0xc10),
  pfn_to_mfn_frame_list_list: u64(0xc18),
  nmi_reason: u64(0xc20),
  p2m_cr3: u64(0xc28),
  p2m_vaddr: u64(0xc30),
  p2m_generation: u64(0xc38),
});
/** Arrays of shared_info: vcpu_info[32], and two bitmaps of 64 words of 64 bits. */
export const SHARED_INFO_ARRAYS = { vcpu_info: 0, evtchn_pending: 0x800, evtchn_mask: 0xa00 } as const;

export const VcpuRunstateInfo = struct('vcpu_runstate_info', 48, {
  state: u32(0),
  state_entry_time: u64(8),
  time_running: u64(0x10),
  time_runnable: u64(0x18),
  time_blocked: u64(0x20),
  time_offline: u64(0x28),
});
