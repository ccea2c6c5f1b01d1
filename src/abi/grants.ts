/**
 * Grant table entries and the structures of grant_table_op. Layouts: public/grant_table.h; pv-abi 8.5, 8.6.
 */
import { s16, struct, u16, u32, u64 } from './struct.ts';

/** The shared entry, version 1. */
export const GrantEntryV1 = struct('grant_entry_v1', 8, { flags: u16(0), domid: u16(2), frame: u32(4) });

export const GnttabMapGrantRef = struct('gnttab_map_grant_ref', 32, {
  host_addr: u64(0),
  flags: u32(8),
  ref: u32(12),
  dom: u16(16),
  status: s16(18),
  handle: u32(20),
  dev_bus_addr: u64(24),
});
export const GnttabUnmapGrantRef = struct('gnttab_unmap_grant_ref', 24, {
  host_addr: u64(0),
  dev_bus_addr: u64(8),
  handle: u32(16),
  status: s16(20),
});
export const GnttabSetupTable = struct('gnttab_setup_table', 24, {
  dom: u16(0),
  nr_frames: u32(4),
  status: s16(8),
  frame_list: u64(16),
});
/** One side of a copy: a grant reference or a frame number. */
export const GnttabCopySide = struct('gnttab_copy_side', 16, {
  ref: u32(0),
  gmfn: u64(0),
  domid: u16(8),
  offset: u16(10),
});
export const GnttabCopy = struct('gnttab_copy', 40, { len: u16(32), flags: u16(34), status: s16(36) });
export const GNTTAB_COPY_SIDES = { source: 0, dest: 16 } as const;
export const GnttabQuerySize = struct('gnttab_query_size', 16, {
  dom: u16(0),
  nr_frames: u32(4),
  max_nr_frames: u32(8),
  status: s16(12),
});
export const GnttabGetVersion = struct('gnttab_get_version', 8, { dom: u16(0), version: u32(4) });
