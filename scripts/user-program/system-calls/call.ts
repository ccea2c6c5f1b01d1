/**
 * What a system call is here: a function of the process and its arguments, as signed numbers; its result is what the program finds in
 * RAX. Errors are thrown, as CallError or as Node throws them, and become results in one place.
 */
import { CallError, ERRNO, type ErrnoName, type SystemCallName } from '../linux.ts';
import type { Process } from '../process.ts';

/** None has more than six; beyond 2^53 they are rounded, where no address is. */
export type SystemCall = (process: Process, a: number, b: number, c: number, d: number, e: number, f: number) => number;
export type SystemCalls = Readonly<Partial<Record<SystemCallName, SystemCall>>>;

export const nothing: SystemCall = () => 0;
/** An int argument: the upper half of its register says nothing. */
export const int = (argument: number): number => argument | 0;

/** The negative error number that `error` stands for; ours, and errors of Node that Linux has no name for here, go on. */
export function resultOf(error: unknown): number {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  if (typeof code === 'string' && Object.hasOwn(ERRNO, code)) return -ERRNO[code as ErrnoName];
  throw error;
}

/** What a table's row calls when the arguments ask for what is not performed. */
export function refuse(code: ErrnoName): never {
  throw new CallError(code);
}
