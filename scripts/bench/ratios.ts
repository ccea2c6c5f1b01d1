/** The figures that the table is read for: geometric means of ratios by group, beside what they must reach and what is aimed at. */
import type { ProgramRow } from './compare.ts';
import type { Group } from './programs.ts';
import type { SubjectName } from './subject.ts';

export interface Target {
  readonly what: string;
  readonly groups: readonly Group[];
  readonly against: SubjectName;
  /** Of the ratios Domus / other: their geometric mean, or the largest of them. */
  readonly of: 'mean' | 'largest';
  readonly limit: number;
  readonly aim: number;
}

// biome-ignore format: a table
export const TARGETS: readonly Target[] = [
  { what: 'integer rows / QEMU TCG',        groups: ['integer'],          against: 'qemu',   of: 'mean',    limit: 0.8, aim: 0.5 },
  { what: 'worst CPU row / QEMU TCG',       groups: ['integer', 'float'], against: 'qemu',   of: 'largest', limit: 1.2, aim: 1 },
  { what: 'floating-point rows / QEMU TCG', groups: ['float'],            against: 'qemu',   of: 'mean',    limit: 0.2, aim: 0.1 },
  { what: 'kernel rows / QEMU TCG',         groups: ['kernel'],           against: 'qemu',   of: 'mean',    limit: 1.2, aim: 0.8 },
  { what: 'whole programs / QEMU TCG',      groups: ['whole'],            against: 'qemu',   of: 'mean',    limit: 1.0, aim: 0.6 },
  { what: 'boot to login / QEMU TCG',       groups: ['boot'],             against: 'qemu',   of: 'mean',    limit: 1.2, aim: 0.6 },
  { what: 'all rows / native',              groups: ['integer', 'float', 'kernel', 'whole'], against: 'native', of: 'mean', limit: 5, aim: 3 },
  { what: 'integer rows / v86',             groups: ['integer'],          against: 'v86',    of: 'mean',    limit: 0.5, aim: 0.25 },
  { what: 'kernel rows / UML',              groups: ['kernel'],           against: 'uml',    of: 'mean',    limit: 1, aim: 0.5 },
];

export interface Figure {
  readonly target: Target;
  readonly value: number;
  /** The same for the first time that each program ran in a domain; undefined where that is not known of all. */
  readonly first: number | undefined;
  /** How many rows it is of. */
  readonly rows: number;
  /** The row with the largest ratio. */
  readonly worst: string;
}

export const geometricMean = (values: readonly number[]): number =>
  Math.exp(values.reduce((sum, value) => sum + Math.log(value), 0) / values.length);

export function ratio(row: ProgramRow, against: SubjectName): number | undefined {
  const [ours, theirs] = [row.ms.domus, row.ms[against]];
  return ours === undefined || theirs === undefined ? undefined : ours / theirs;
}

/** Those that the rows tell something about. */
export function figures(rows: readonly ProgramRow[]): Figure[] {
  return TARGETS.flatMap((target) => {
    const ratios = rows
      .filter(({ group }) => target.groups.includes(group))
      .flatMap((row) => {
        const value = ratio(row, target.against);
        const first = row.firstMs && row.firstMs / row.ms[target.against]!;
        return value === undefined ? [] : [{ id: row.id, value, first }];
      })
      .sort((a, b) => b.value - a.value);
    if (ratios.length === 0) return [];
    const of = (values: readonly number[]): number =>
      target.of === 'mean' ? geometricMean(values) : Math.max(...values);
    const firsts = ratios.flatMap(({ first }) => first ?? []);
    const first = firsts.length === ratios.length ? of(firsts) : undefined;
    return [{ target, value: of(ratios.map(({ value }) => value)), first, rows: ratios.length, worst: ratios[0]!.id }];
  });
}
