/** What a measurement is, and how measurements are printed. */

export interface Row {
  /** Stable, for comparing runs: boot.login, engine.alu ... */
  readonly id: string;
  readonly what: string;
  readonly unit: string;
  readonly value: number;
  /** The single measurements behind the value, in their order. */
  readonly runs?: readonly number[];
  /** The same of something else, from the same interleaved run. */
  readonly beside?: { readonly what: string; readonly value: number; readonly runs?: readonly number[] };
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

const figure = (value: number): string => (value >= 100 ? value.toFixed(0) : value.toFixed(value >= 10 ? 1 : 2));

export function printRow({ what, unit, value, beside }: Row): string {
  const other = beside ? `${beside.what} ${figure(beside.value)}` : '';
  return `${what.padEnd(58)}${figure(value).padStart(9)} ${unit.padEnd(8)}${other}`.trimEnd();
}
