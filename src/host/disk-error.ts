/** A disk that people have to do something about: one line that says which disk and what is the matter. */
export class DiskError extends Error {
  override readonly name = 'DiskError';
}
