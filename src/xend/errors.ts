/**
 * Everything that xend refuses: code, HTTP status and the one line that people read. Thrown before anything has changed,
 * or after everything was undone.
 */
// biome-ignore format: a table
export const ERRORS = {
  'bad-request':      { status: 400, text: (what: string) => what },
  'bad-config':       { status: 400, text: (what: string) => what },
  'forbidden':        { status: 403, text: (why: string) => why },
  'kernel-missing':   { status: 400, text: (path: string, why: string) => `Kernel image does not exist: ${path} (${why})` },
  'ramdisk-missing':  { status: 400, text: (path: string, why: string) => `Kernel ramdisk does not exist: ${path} (${why})` },
  'disk-missing':     { status: 400, text: (uname: string, why: string) => `vbd: Segment not found: uname=${uname} (${why})` },
  'disk-form':        { status: 400, text: (uname: string, why: string) => `Invalid disk specifier: ${uname}: ${why}` },
  'build-failed':     { status: 400, text: (name: string, why: string) => `cannot build domain "${name}": ${why}` },
  'domain-not-found': { status: 404, text: (name: string) => `invalid domain:${name}` },
  'exit-not-found':   { status: 404, text: (uuid: string) => `no domain with uuid ${uuid} is or was here` },
  'not-found':        { status: 404, text: (what: string) => what },
  'no-console':       { status: 404, text: (_name: string) => 'No console information' },
  'name-clash':       { status: 409, text: (name: string, domid: string) => `vm name clash: ${name} (domain ${domid} has that name)` },
  'uuid-clash':       { status: 409, text: (uuid: string, name: string) => `uuid ${uuid} belongs to domain "${name}"` },
  'no-memory':        { status: 409, text: (name: string, need: string, free: string) => `not enough memory for domain "${name}": it needs ${need} MiB, ${free} MiB are free (see xm info)` },
  'wrong-state':      { status: 409, text: (name: string, why: string) => `domain "${name}": ${why}` },
  'no-such-disk':     { status: 404, text: (name: string, dev: string) => `domain "${name}" has no disk ${dev} (xm block-list shows them)` },
  'disk-held':        { status: 409, text: (dev: string, why: string) => `vbd: ${dev} could not be disconnected: ${why} (-f takes it away all the same)` },
  'disk-refused':     { status: 409, text: (why: string) => why },
  'scheduling':       { status: 409, text: (why: string) => why },
  'fixed':            { status: 501, text: (name: string, what: string, why: string) => `domain "${name}" keeps ${what} while it exists: ${why}` },
  'core-failed':      { status: 409, text: (name: string, why: string) => `no core of domain "${name}": ${why}` },
  'domain-0':         { status: 409, text: (what: string) => `Domain-0 is this machine itself: xm cannot ${what} it` },
  'not-implemented':  { status: 501, text: (op: string) => `Operation not implemented: ${op}` },
  'monitor-failed':   { status: 500, text: (name: string, why: string) => `the monitor of domain "${name}" ${why}` },
  'no-space':         { status: 507, text: (why: string) => `xend cannot write to its disk: ${why}` },
  'internal':         { status: 500, text: (why: string) => `xend: internal error: ${why}` },
} as const;

export type ErrorCode = keyof typeof ERRORS;

export class XendError<C extends ErrorCode = ErrorCode> extends Error {
  override readonly name = 'XendError';
  readonly code: C;
  readonly status: number;

  constructor(code: C, ...details: Parameters<(typeof ERRORS)[C]['text']>) {
    super((ERRORS[code].text as (...parts: string[]) => string)(...details));
    this.code = code;
    this.status = ERRORS[code].status;
  }
}

/** errno(3): what says that a disk is full, or a user's part of it. */
const NO_SPACE = ['ENOSPC', 'EDQUOT'];

/** What a client hears of an error that is in no row; the log has more of it. */
export function unforeseen(error: Error, log: string): XendError {
  const full = NO_SPACE.includes((error as NodeJS.ErrnoException).code ?? '');
  return full
    ? new XendError('no-space', error.message)
    : new XendError('internal', `${error.message} (details are in ${log})`);
}
