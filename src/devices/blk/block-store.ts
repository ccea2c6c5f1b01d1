/**
 * What a disk is to the block backend: sectors that are read, written, made durable and given up. Files and devices of the
 * host are behind it in host/. Nothing here throws or rejects: an error of the medium is a status.
 */
export type BlkStatus = 'okay' | 'error' | 'unsupported';

/** The ABI counts in these, whatever the medium's own sectors are. */
export const SECTOR_SIZE = 512;

export interface BlockStore {
  /** Size now, in 512-byte sectors. */
  readonly sectors: number;
  readonly readOnly: boolean;
  /** Bytes that are best written as one. */
  readonly physicalSectorSize: number;
  /** Bytes that a discard gives up at the least; 0 when the store cannot discard. */
  readonly discardGranularity: number;
  /**
   * Fill `into`, one part after the other, from `sector` on. The caller has checked the range; parts may lie in memory that
   * the guest changes meanwhile.
   */
  read(sector: number, into: readonly Uint8Array[]): Promise<BlkStatus>;
  write(sector: number, from: readonly Uint8Array[]): Promise<BlkStatus>;
  /** Make durable what was written by requests that are done. */
  flush(): Promise<BlkStatus>;
  /** The guest does not need these sectors' contents any more. */
  discard(sector: number, count: number): Promise<BlkStatus>;
}
