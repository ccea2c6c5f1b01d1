/** Something about the files of a copy, here or in the guest: one line for people. */
export class CopyError extends Error {
  override readonly name = 'CopyError';
}
