/**
 * What one request does to one disk. No ring, no grants, no file. Follows pv-abi 8.3.
 */
import { type BlkStatus, type BlockStore, SECTOR_SIZE } from './block-store.ts';

export type BlkOperation = 'read' | 'write' | 'barrier' | 'flush' | 'discard';

export interface BlkRequest {
  readonly op: BlkOperation;
  readonly sector: number;
  /** Sectors to discard. */
  readonly count?: number;
  /** Where the data goes to or comes from. */
  readonly data?: readonly Uint8Array[];
}

export async function serve({ op, sector, count, data = [] }: BlkRequest, disk: BlockStore): Promise<BlkStatus> {
  const sectors = count ?? data.reduce((bytes, part) => bytes + part.length, 0) / SECTOR_SIZE;
  // A sector number of 2^53 and more is inexact here, but beyond every disk all the same.
  if (sectors > 0 && !(sector + sectors <= disk.sectors)) return 'error';
  if (op !== 'read' && op !== 'flush' && disk.readOnly) return 'error';
  switch (op) {
    case 'read':
      return disk.read(sector, data);
    case 'write':
      return disk.write(sector, data);
    case 'flush':
      return disk.flush();
    case 'discard':
      if (disk.discardGranularity === 0) return 'unsupported';
      return sectors === 0 ? 'okay' : disk.discard(sector, sectors);
    case 'barrier': {
      // The ring lets nothing pass a barrier on either side.
      const before = await disk.flush();
      if (before !== 'okay' || sectors === 0) return before;
      const written = await disk.write(sector, data);
      return written === 'okay' ? disk.flush() : written;
    }
  }
}
