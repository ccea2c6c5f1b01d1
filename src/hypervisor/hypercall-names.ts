/** Names of hypercall numbers, for log lines and crash reports. */
import { HYPERCALL } from '../abi/numbers.ts';

const NAMES = new Map<number, string>(Object.entries(HYPERCALL).map(([name, number]) => [number, name]));

export function hypercallName(number: number): string {
  return NAMES.get(number) ?? `hypercall ${number}`;
}
