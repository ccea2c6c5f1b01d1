/** What a decompressor throws: what is wrong, and at which byte of the compressed data. `kernel.ts` makes it a message for people. */
export class CorruptError extends Error {
  readonly offset: number;

  constructor(message: string, offset: number) {
    super(message);
    this.name = 'CorruptError';
    this.offset = offset;
  }
}
