/**
 * `cpu_weight`: Xen 2.0 counts in multiples of everybody's share, with a point (1.5), later tools in whole numbers of which
 * everybody has 256.
 */
import { SCHED_CREDIT } from '../abi/numbers.ts';

const WEIGHT_MAX = 65535;

/** From 1 to 65535, or undefined for what is no weight. */
export function parseCpuWeight(text: string): number | undefined {
  const multiple = /^(\d+\.\d*|\.\d+)$/.test(text);
  if (!multiple && !/^\d+$/.test(text)) return undefined;
  const weight = multiple ? Math.round(Number(text) * SCHED_CREDIT.weight) : Number(text);
  return weight >= 1 && weight <= WEIGHT_MAX ? weight : undefined;
}
