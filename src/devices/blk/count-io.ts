/** Counts what a disk is asked for: requests and bytes that were done, not those refused. */
import type { BlkStatus, BlockStore } from './block-store.ts';

export interface IoCounts {
  reads: number;
  writes: number;
  readBytes: number;
  writtenBytes: number;
}

/** The same disk, which counts into `counts`. */
export function countIo(disk: BlockStore, counts: IoCounts): BlockStore {
  const bytesOf = (parts: readonly Uint8Array[]): number => parts.reduce((sum, part) => sum + part.length, 0);
  return {
    get sectors() {
      return disk.sectors;
    },
    readOnly: disk.readOnly,
    physicalSectorSize: disk.physicalSectorSize,
    discardGranularity: disk.discardGranularity,
    async read(sector, into): Promise<BlkStatus> {
      const status = await disk.read(sector, into);
      if (status === 'okay') {
        counts.reads++;
        counts.readBytes += bytesOf(into);
      }
      return status;
    },
    async write(sector, from): Promise<BlkStatus> {
      const status = await disk.write(sector, from);
      if (status === 'okay') {
        counts.writes++;
        counts.writtenBytes += bytesOf(from);
      }
      return status;
    },
    flush: () => disk.flush(),
    discard: (sector, count) => disk.discard(sector, count),
  };
}
