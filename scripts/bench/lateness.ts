/**
 * How late an interrupt is in a busy guest: a process with a timer of a millisecond beside one that keeps the processor busy
 * (programs/timer.c). In a domain the first time, while that program is being translated, and in a later domain, when what was made of it is
 * kept. Each millisecond counts once, so that a stall of ten is ten of them that are late.
 */
import { prepareDisk } from './disk.ts';
import { codeIsMade } from './first.ts';
import { Missing } from './missing.ts';
import { PROGRAMS, type Program } from './programs.ts';
import { median, type Row } from './report.ts';
import type { Subject, SubjectName } from './subject.ts';
import { type DomusOptions, MEMORY_MIB, startDomus } from './subjects/domus.ts';
import { startNative } from './subjects/native.ts';
import { startQemu, virtioInitramfs } from './subjects/qemu.ts';
import { TITLES } from './table.ts';
import type { TablePlaces } from './tabled.ts';

/** Whose translation takes longest. */
const BUSY = 'python3';
const LATE = /^(?:fifo|other) (\d+) half (\d+) 99% (\d+) 99\.9% (\d+) worst (\d+)$/m;

export interface Lateness {
  readonly wakes: number;
  /** Microseconds that so many of the wakes were late at most. */
  readonly half: number;
  readonly in100: number;
  readonly in1000: number;
  readonly worst: number;
}

/** The program of the table called `id`, with a timer beside it. */
export function timed(id: string): Program {
  const { group, command, input } = PROGRAMS.find((program) => program.id === id)!;
  const [program, ...rest] = command as [string, ...string[]];
  const busy = [program.includes('/') ? program : `/bench/${program}`, ...rest];
  return { id: `timer.${id}`, group, what: `a timer beside ${id}`, command: ['timer', ...busy], input };
}

export async function latenesses(subject: Subject, program: Program, rounds: number): Promise<Lateness[]> {
  const all: Lateness[] = [];
  for (let round = 0; round < rounds; round++) {
    const { said } = await subject.run(program);
    const found = LATE.exec(said);
    if (found === null) throw new Error(`${program.id} said nothing of its wakes in ${subject.name}`);
    const [wakes, half, in100, in1000, worst] = found.slice(1).map(Number) as [number, number, number, number, number];
    all.push({ wakes, half, in100, in1000, worst });
  }
  return all;
}

function latenessRow(id: string, where: string, all: readonly Lateness[]): Row {
  const runs = all.map(({ in100 }) => in100);
  const of = (which: keyof Lateness): number => median(all.map((one) => one[which]));
  const what = `half ${of('half')}, 99.9 % ${of('in1000')}, the latest`;
  return {
    id: `late.${id}`,
    what: `a timer of 1 ms beside ${BUSY}, ${where}: 99 % at most so late`,
    unit: 'µs',
    value: median(runs),
    runs,
    beside: { what, value: of('worst'), runs: all.map(({ worst }) => worst) },
  };
}

/** Needs a xend that has run nothing yet. */
export async function latenessRows(
  { guest, cacheDir, xend }: TablePlaces,
  subjects: readonly SubjectName[],
  rounds: number,
  domus: DomusOptions,
  progress: (text: string) => void,
): Promise<Row[]> {
  const disk = await prepareDisk(cacheDir, progress);
  const program = timed(BUSY);
  const rows: Row[] = [];
  const measure = async (id: string, where: string, times: number, start: () => Promise<Subject>): Promise<void> => {
    try {
      const subject = await start();
      try {
        rows.push(latenessRow(id, where, await latenesses(subject, program, times)));
      } finally {
        await subject.stop();
      }
    } catch (error) {
      if (!(error instanceof Missing)) throw error;
      progress(`without ${id}: ${error.message}`);
    }
  };
  const domain = () => startDomus(disk, guest, xend, domus);
  progress(`a timer beside ${BUSY}`);
  if (subjects.includes('domus')) {
    await measure('domus.first', 'Domus, the first time', 1, domain);
    if (!(await codeIsMade(xend))) progress('the machine code of what was translated is not all there yet');
    await measure('domus', 'Domus, later', rounds, domain);
  }
  if (subjects.includes('qemu')) {
    await measure('qemu', TITLES.qemu, rounds, async () =>
      startQemu(disk, guest, await virtioInitramfs(guest, cacheDir, xend.folder), MEMORY_MIB),
    );
  }
  if (subjects.includes('native')) await measure('native', TITLES.native, rounds, () => startNative(disk));
  return rows;
}
