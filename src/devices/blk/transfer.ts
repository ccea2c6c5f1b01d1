/**
 * The guest frames of one request: taken by their grants, seen as few contiguous parts of guest memory, and given back. Data
 * is not copied; only the segment records of an indirect request are, once, before they are looked at.
 */
import { BLKIF_MAX, BlkifSegment } from '../../abi/rings.ts';
import type { GuestPages } from '../guest.ts';
import { SECTOR_SIZE } from './block-store.ts';
import { type DecodedRequest, decodeSegments, type Segment } from './request.ts';

/** The request's segments, from its slot or from the frames it names; undefined when the guest gave bad ones. */
export function segmentsOf(request: DecodedRequest, guest: GuestPages): readonly Segment[] | undefined {
  if (!request.indirect) return request.segments;
  const total = request.indirectCount ?? 0;
  const copy = new Uint8Array(total * BlkifSegment.size);
  const frameBytes = BLKIF_MAX.segmentsPerIndirectPage * BlkifSegment.size;
  for (const [i, gref] of request.indirect.entries()) {
    const address = guest.acquire(gref, false);
    if (address === 'bad') return undefined;
    const length = Math.min(frameBytes, copy.length - i * frameBytes);
    copy.set(new Uint8Array(guest.memory, address, length), i * frameBytes);
    guest.release(gref, false);
  }
  return decodeSegments(new DataView(copy.buffer), 0, total);
}

export interface Transfer {
  /** The data in order, neighbours in memory joined. */
  readonly parts: readonly Uint8Array[];
  /** Give the frames back; `into`: the disk may have written them. */
  done(): void;
}

/** Take the frames for a device that writes to guest memory (`into`) or reads it; undefined when a grant is bad. */
export function takeFrames(segments: readonly Segment[], into: boolean, guest: GuestPages): Transfer | undefined {
  const addresses: number[] = [];
  const parts: Uint8Array[] = [];
  let start = 0;
  let end = 0;
  const done = () => {
    for (const [i, address] of addresses.entries()) {
      if (into) guest.written(address);
      guest.release(segments[i]!.gref, into);
    }
  };
  for (const { gref, first, last } of segments) {
    const address = guest.acquire(gref, into);
    if (address === 'bad') {
      done();
      return undefined;
    }
    addresses.push(address);
    const from = address + first * SECTOR_SIZE;
    if (from !== end) {
      if (end > start) parts.push(new Uint8Array(guest.memory, start, end - start));
      start = from;
    }
    end = address + (last + 1) * SECTOR_SIZE;
  }
  if (end > start) parts.push(new Uint8Array(guest.memory, start, end - start));
  return { parts, done };
}
