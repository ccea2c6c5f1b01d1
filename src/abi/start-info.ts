/**
 * The page that a PV kernel finds in RSI at its entry, and the memory map. Layouts: public/xen.h, public/memory.h; pv-abi 1.8,
 * 1.10.
 */
import { struct, u32, u64 } from './struct.ts';

export const StartInfo = struct('start_info', 1168, {
  nr_pages: u64(0x20),
  /** A machine address, not a frame number. */
  shared_info: u64(0x28),
  flags: u32(0x30),
  store_mfn: u64(0x38),
  store_evtchn: u32(0x40),
  console_mfn: u64(0x48),
  console_evtchn: u32(0x50),
  pt_base: u64(0x58),
  nr_pt_frames: u64(0x60),
  mfn_list: u64(0x68),
  mod_start: u64(0x70),
  mod_len: u64(0x78),
  first_p2m_pfn: u64(0x480),
  nr_p2m_frames: u64(0x488),
});
/** Byte arrays of start_info. */
export const START_INFO_BYTES = {
  magic: { offset: 0, size: 32 },
  cmd_line: { offset: 0x80, size: 1024 },
} as const;

export const E820Entry = struct('e820entry', 20, { addr: u64(0), length: u64(8), type: u32(16) });
