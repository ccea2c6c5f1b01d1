/**
 * Runs every program in every subject, in turns, so that what else the machine does meets all of them; medians. Who has spent
 * LONG_MS on a program is not asked again: long runs say as much as several short ones.
 */
import type { Group, Program } from './programs.ts';
import { median } from './report.ts';
import type { Subject, SubjectName, Timing } from './subject.ts';

/** Of time in one subject on one program. */
const LONG_MS = 15_000;

export interface ProgramRow {
  readonly id: string;
  readonly group: Group;
  readonly what: string;
  /** Milliseconds by subject, medians. */
  readonly ms: Readonly<Partial<Record<SubjectName, number>>>;
  /** Milliseconds in a domain when nothing of the program had been translated and kept before. */
  readonly firstMs?: number;
  /** Processor milliseconds of this machine by subject, medians: what a busy machine disturbs less. */
  readonly cpuMs: Readonly<Partial<Record<SubjectName, number>>>;
  /** The single times behind `ms`. */
  readonly runs: Readonly<Partial<Record<SubjectName, readonly number[]>>>;
  /** Subjects whose program printed something else than the first one's, or failed: their time is no result. */
  readonly wrong: Readonly<Partial<Record<SubjectName, string>>>;
}

export async function comparePrograms(
  programs: readonly Program[],
  subjects: readonly Subject[],
  rounds: number,
  done: (row: ProgramRow) => void,
): Promise<ProgramRow[]> {
  const rows: ProgramRow[] = [];
  for (const program of programs) {
    const row = await compareOne(program, subjects, rounds);
    rows.push(row);
    done(row);
  }
  return rows;
}

async function compareOne(program: Program, subjects: readonly Subject[], rounds: number): Promise<ProgramRow> {
  const timings = new Map<SubjectName, Timing[]>(subjects.map(({ name }) => [name, []]));
  const wrong: Partial<Record<SubjectName, string>> = {};
  let expected: string | undefined;
  const able = subjects.filter((subject) => subject.runs?.(program) ?? true);
  for (let round = 0; round < rounds; round++) {
    for (const subject of able) {
      const before = timings.get(subject.name)!;
      const spentMs = before.reduce((sum, { hostMs }) => sum + hostMs, 0);
      if (wrong[subject.name] !== undefined || spentMs >= LONG_MS) continue;
      try {
        const timing = await subject.run(program);
        expected ??= timing.output;
        if (timing.output === expected) before.push(timing);
        else wrong[subject.name] = `printed ${timing.output} instead of ${expected}`;
      } catch (error) {
        wrong[subject.name] = error instanceof Error ? error.message : String(error);
      }
    }
  }
  const ms: Partial<Record<SubjectName, number>> = {};
  const cpuMs: Partial<Record<SubjectName, number>> = {};
  const runs: Partial<Record<SubjectName, number[]>> = {};
  for (const [name, all] of timings) {
    if (all.length === 0 || wrong[name] !== undefined) continue;
    runs[name] = all.map((timing) => timing.ms);
    ms[name] = median(runs[name]);
    const cpu = all.flatMap((timing) => (timing.cpuMs === undefined ? [] : [timing.cpuMs]));
    if (cpu.length === all.length) cpuMs[name] = median(cpu);
  }
  const { id, group, what } = program;
  return { id, group, what, ms, cpuMs, runs, wrong };
}
