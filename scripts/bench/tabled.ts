/** The part of the benchmark that is a table: chosen programs in chosen subjects, started here and stopped here. */
import type { Guest } from '../../src/guest/index.ts';
import type { OwnXend } from '../lib/own-xend.ts';
import { comparePrograms, type ProgramRow } from './compare.ts';
import { type BenchDisk, prepareDisk } from './disk.ts';
import { codeIsMade, firstTimes } from './first.ts';
import { Missing } from './missing.ts';
import type { Program } from './programs.ts';
import type { Row } from './report.ts';
import type { Subject, SubjectName } from './subject.ts';
import { type DomusOptions, MEMORY_MIB, startDomus } from './subjects/domus.ts';
import { startNative } from './subjects/native.ts';
import { startQemu, virtioInitramfs } from './subjects/qemu.ts';
import { startUml } from './subjects/uml.ts';
import { startV86 } from './subjects/v86.ts';
import { tableHead, tableLine } from './table.ts';

export interface TablePlan {
  readonly programs: readonly Program[];
  readonly subjects: readonly SubjectName[];
  readonly rounds: number;
  readonly domus: DomusOptions;
}

export interface TablePlaces {
  readonly guest: Guest;
  readonly xend: OwnXend;
  readonly cacheDir: string;
}

export interface TableResult {
  readonly rows: readonly ProgramRow[];
  readonly subjects: readonly SubjectName[];
  readonly versions: Readonly<Record<string, string>>;
  readonly measurements: readonly Row[];
}

export async function measureTable(
  plan: TablePlan,
  places: TablePlaces,
  progress: (text: string) => void,
): Promise<TableResult> {
  const disk = await prepareDisk(places.cacheDir, progress);
  const first = plan.subjects.includes('domus') ? await firstRuns(disk, plan, places, progress) : undefined;
  const running: Subject[] = [];
  try {
    for (const name of plan.subjects) {
      try {
        running.push(await start(name, disk, places, plan, progress));
      } catch (error) {
        if (!(error instanceof Missing)) throw error;
        progress(`without ${name}: ${error.message}`);
      }
    }
    const subjects = running.map(({ name }) => name);
    console.log(tableHead(subjects));
    const later = await comparePrograms(plan.programs, running, plan.rounds, (row) => {
      console.log(tableLine(row, subjects));
      for (const [name, why] of Object.entries(row.wrong)) progress(`${row.id} in ${name}: ${why}`);
    });
    const rows = later.map((row) => {
      const firstMs = first?.get(row.id);
      return firstMs === undefined ? row : { ...row, firstMs };
    });
    const versions = Object.assign({}, ...running.map((subject) => subject.versions), disk.packages);
    const measurements: Row[] = [];
    for (const subject of running) measurements.push(...((await subject.measurements?.()) ?? []));
    return { rows, subjects, versions, measurements };
  } finally {
    for (const subject of running) await subject.stop();
  }
}

/** Each program as often as later, in a domain that goes again; its translations stay. */
async function firstRuns(
  disk: BenchDisk,
  { programs, rounds, domus }: TablePlan,
  { guest, xend }: TablePlaces,
  progress: (text: string) => void,
): Promise<Map<string, number>> {
  progress('each program for the first time in a domain');
  const subject = await startDomus(disk, guest, xend, domus);
  try {
    return await firstTimes(subject, programs, rounds);
  } finally {
    await subject.stop();
    if (!(await codeIsMade(xend))) progress('the machine code of what was translated is not all there yet');
  }
}

async function start(
  name: SubjectName,
  disk: BenchDisk,
  places: TablePlaces,
  plan: TablePlan,
  progress: (text: string) => void,
): Promise<Subject> {
  const { guest, xend, cacheDir } = places;
  switch (name) {
    case 'native':
      return startNative(disk);
    case 'domus':
      return startDomus(disk, guest, xend, plan.domus);
    case 'qemu':
      return startQemu(disk, guest, await virtioInitramfs(guest, cacheDir, xend.folder), MEMORY_MIB);
    case 'uml':
      return startUml(disk, xend.folder, MEMORY_MIB);
    case 'v86':
      return startV86(cacheDir, MEMORY_MIB, progress);
  }
}
