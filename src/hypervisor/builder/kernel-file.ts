/**
 * An unpacked kernel as the builder reads it: in pieces. A kernel has some fifty MiB, which need not be in memory beside the
 * guest's own.
 */
export interface KernelFile {
  readonly size: number;
  /** Fills `into` with what is at `offset`; all of it is inside the file. */
  read(offset: number, into: Uint8Array): void;
}

/** One that is in memory already. */
export const kernelInMemory = (bytes: Uint8Array): KernelFile => ({
  size: bytes.length,
  read: (offset, into) => into.set(bytes.subarray(offset, offset + into.length)),
});
