/** All system calls by number, and how one is performed. */
import { ERRNO, SYSTEM_CALL } from '../linux.ts';
import type { Process } from '../process.ts';
import { resultOf, type SystemCall, type SystemCalls } from './call.ts';
import { FILE_CALLS } from './files.ts';
import { MEMORY_CALLS } from './memory.ts';
import { PROCESS_CALLS } from './process.ts';

const CALLS: SystemCalls = { ...FILE_CALLS, ...MEMORY_CALLS, ...PROCESS_CALLS };
const BY_NUMBER: ReadonlyMap<number, readonly [name: string, call: SystemCall]> = new Map(
  Object.entries(CALLS).map(([name, call]) => [SYSTEM_CALL[name as keyof typeof SYSTEM_CALL], [name, call]]),
);

/** Its name; a number that no row has is told as such. */
export function nameOfCall(number: number): string {
  return BY_NUMBER.get(number)?.[0] ?? `number ${number} (not performed)`;
}

export type Arguments = readonly [number, number, number, number, number, number];

/** Perform system call `number`: what RAX is to be. */
export function perform(process: Process, number: number, args: Arguments): number {
  const call = BY_NUMBER.get(number)?.[1];
  if (call === undefined) return -ERRNO.ENOSYS;
  try {
    return call(process, ...args);
  } catch (error) {
    return resultOf(error);
  }
}
