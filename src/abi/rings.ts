/**
 * Rings shared with a guest: the generic ring's head, block requests, the console ring and the xenstore ring.
 * Layouts: public/io/ring.h, blkif.h, console.h, xs_wire.h; pv-abi 7.1, 8.1 to 8.3.
 */
import { s16, struct, u8, u16, u32, u64 } from './struct.ts';

/** Head of a block or network ring; entries follow it. */
export const SharedRing = struct('sring', 64, {
  req_prod: u32(0),
  req_event: u32(4),
  rsp_prod: u32(8),
  rsp_event: u32(12),
});

export const BLKIF_OP = { read: 0, write: 1, write_barrier: 2, flush_diskcache: 3, discard: 5, indirect: 6 } as const;
export const BLKIF_RSP = { okay: 0, error: -1, eopnotsupp: -2 } as const;
/** Segments in a direct request; grant references of an indirect one; segment records in one of its pages. */
export const BLKIF_MAX = { segments: 11, indirectPages: 8, segmentsPerIndirectPage: 512 } as const;
/** Bytes of one slot of the x86_64-abi ring. */
export const BLKIF_SLOT_SIZE = 112;
export const BlkifRequest = struct('blkif_request', BLKIF_SLOT_SIZE, {
  operation: u8(0),
  nr_segments: u8(1),
  handle: u16(2),
  id: u64(8),
  sector_number: u64(16),
});
/** Segments of a direct request begin here. */
export const BLKIF_SEGMENTS_OFFSET = 24;
export const BlkifSegment = struct('blkif_request_segment', 8, { gref: u32(0), first_sect: u8(4), last_sect: u8(5) });
export const BlkifDiscard = struct('blkif_request_discard', BLKIF_SLOT_SIZE, {
  operation: u8(0),
  flag: u8(1),
  handle: u16(2),
  id: u64(8),
  sector_number: u64(16),
  nr_sectors: u64(24),
});
/** Up to 8 grant references of segment pages are at offset 28. */
export const BlkifIndirect = struct('blkif_request_indirect', BLKIF_SLOT_SIZE, {
  operation: u8(0),
  indirect_op: u8(1),
  nr_segments: u16(2),
  id: u64(8),
  sector_number: u64(16),
  handle: u16(24),
  indirect_grefs: u32(28),
});
export const BlkifResponse = struct('blkif_response', 16, { id: u64(0), operation: u8(8), status: s16(10) });

export const ConsoleRing = struct('xencons_interface', 0xc14, {
  in_cons: u32(0xc00),
  in_prod: u32(0xc04),
  out_cons: u32(0xc08),
  out_prod: u32(0xc0c),
  connection: u8(0xc10),
});
export const CONSOLE_RING_BYTES = {
  in: { offset: 0, size: 1024 },
  out: { offset: 0x400, size: 2048 },
} as const;

export const XenstoreRing = struct('xenstore_domain_interface', 0x820, {
  req_cons: u32(0x800),
  req_prod: u32(0x804),
  rsp_cons: u32(0x808),
  rsp_prod: u32(0x80c),
  server_features: u32(0x810),
  connection: u32(0x814),
  error: u32(0x818),
  evtchn_port: u32(0x81c),
});
export const XENSTORE_RING_BYTES = {
  req: { offset: 0, size: 1024 },
  rsp: { offset: 0x400, size: 1024 },
} as const;
export const XenstoreHeader = struct('xsd_sockmsg', 16, { type: u32(0), req_id: u32(4), tx_id: u32(8), len: u32(12) });

export const NetTxRequest = struct('netif_tx_request', 12, {
  gref: u32(0),
  offset: u16(4),
  flags: u16(6),
  id: u16(8),
  length: u16(10),
});
export const NetTxResponse = struct('netif_tx_response', 4, { id: u16(0), status: s16(2) });
export const NetRxRequest = struct('netif_rx_request', 8, { id: u16(0), gref: u32(4) });
export const NetRxResponse = struct('netif_rx_response', 8, {
  id: u16(0),
  offset: u16(2),
  flags: u16(4),
  status: s16(6),
});
