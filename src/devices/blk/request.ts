/**
 * A slot of the block ring, decoded from a private copy: what is asked, or the status that answers what cannot be asked.
 * Whether the sectors exist and the grants are good is checked later, by whoever knows. Follows pv-abi 8.3.
 */
import {
  BLKIF_MAX,
  BLKIF_OP,
  BLKIF_SEGMENTS_OFFSET,
  BlkifDiscard,
  BlkifIndirect,
  BlkifRequest,
  BlkifSegment,
} from '../../abi/rings.ts';
import type { BlkStatus } from './block-store.ts';
import type { BlkOperation } from './serve.ts';

/** Segments that one indirect request may have: 1 MiB. */
export const INDIRECT_SEGMENTS_MAX = 256;

/** Sectors `first` to `last` of a granted frame. */
export interface Segment {
  readonly gref: number;
  readonly first: number;
  readonly last: number;
}

export interface DecodedRequest {
  readonly id: bigint;
  /** What the response repeats: of an indirect request, the operation inside. */
  readonly operation: number;
  readonly op: BlkOperation;
  readonly sector: number;
  /** Sectors of a discard. */
  readonly count?: number;
  readonly segments: readonly Segment[];
  /** Segments are in these frames instead, `indirectCount` of them. */
  readonly indirect?: readonly number[];
  readonly indirectCount?: number;
  /** Set when the request can only be answered so. */
  readonly refused?: BlkStatus;
}

const NAMES: Readonly<Record<number, BlkOperation>> = {
  [BLKIF_OP.read]: 'read',
  [BLKIF_OP.write]: 'write',
  [BLKIF_OP.write_barrier]: 'barrier',
  [BLKIF_OP.flush_diskcache]: 'flush',
  [BLKIF_OP.discard]: 'discard',
};
const SECURE_DISCARD = 1;

export function decodeRequest(slot: DataView): DecodedRequest {
  const operation = BlkifRequest.operation.get(slot, 0);
  if (operation === BLKIF_OP.indirect) return decodeIndirect(slot);
  const id = BlkifRequest.id.get(slot, 0);
  const sector = Number(BlkifRequest.sector_number.get(slot, 0));
  const op = NAMES[operation];
  const head = { id, operation, op: op ?? 'read', sector, segments: [] };
  if (op === undefined) return { ...head, refused: 'unsupported' };
  if (op === 'discard') {
    if (BlkifDiscard.flag.get(slot, 0) & SECURE_DISCARD) return { ...head, refused: 'unsupported' };
    return { ...head, count: Number(BlkifDiscard.nr_sectors.get(slot, 0)) };
  }
  const count = BlkifRequest.nr_segments.get(slot, 0);
  if (op === 'flush') return { ...head, ...(count === 0 ? {} : { refused: 'error' }) };
  if (count > BLKIF_MAX.segments || (count === 0 && op !== 'barrier')) return { ...head, refused: 'error' };
  const segments = decodeSegments(slot, BLKIF_SEGMENTS_OFFSET, count);
  return segments ? { ...head, segments } : { ...head, refused: 'error' };
}

function decodeIndirect(slot: DataView): DecodedRequest {
  const operation = BlkifIndirect.indirect_op.get(slot, 0);
  const op = NAMES[operation];
  const head = {
    id: BlkifIndirect.id.get(slot, 0),
    operation,
    op: op ?? 'read',
    sector: Number(BlkifIndirect.sector_number.get(slot, 0)),
    segments: [],
  };
  if (op !== 'read' && op !== 'write') return { ...head, refused: 'error' };
  const indirectCount = BlkifIndirect.nr_segments.get(slot, 0);
  if (indirectCount === 0 || indirectCount > INDIRECT_SEGMENTS_MAX) return { ...head, refused: 'error' };
  const frames = Math.ceil(indirectCount / BLKIF_MAX.segmentsPerIndirectPage);
  const indirect = Array.from({ length: frames }, (_, i) =>
    slot.getUint32(BlkifIndirect.indirect_grefs.offset + 4 * i, true),
  );
  return { ...head, indirect, indirectCount };
}

/** `count` segment records; undefined when one of them is no part of a frame. */
export function decodeSegments(from: DataView, offset: number, count: number): Segment[] | undefined {
  const segments: Segment[] = [];
  for (let i = 0; i < count; i++) {
    const at = offset + i * BlkifSegment.size;
    const gref = BlkifSegment.gref.get(from, at);
    const first = BlkifSegment.first_sect.get(from, at);
    const last = BlkifSegment.last_sect.get(from, at);
    if (first > last || last > 7) return undefined;
    segments.push({ gref, first, last });
  }
  return segments;
}
