/** docs/performance.md: the figures and the table of one complete run, with the machine and versions that they belong to. */
import type { ProgramRow } from './compare.ts';
import { type Figure, ratio } from './ratios.ts';
import type { Row } from './report.ts';
import { SUBJECTS, type SubjectName } from './subject.ts';
import { milliseconds, ratioText, TITLES } from './table.ts';

export interface PageFacts {
  readonly machine: Readonly<Record<string, string | number>>;
  readonly versions: Readonly<Record<string, string>>;
  readonly rounds: number;
  readonly rows: readonly ProgramRow[];
  readonly figures: readonly Figure[];
  readonly measurements: readonly Row[];
}

const tableRow = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;
const table = (head: readonly string[], rows: readonly (readonly string[])[]): string =>
  [tableRow(head), tableRow(head.map((_, k) => (k === 0 ? '---' : '---:'))), ...rows.map(tableRow)].join('\n');

function programTable(rows: readonly ProgramRow[]): string {
  const subjects = SUBJECTS.filter((name) => rows.some(({ ms }) => ms[name] !== undefined));
  const others = subjects.filter((name) => name !== 'domus');
  const withCpu = rows.some(({ cpuMs }) => cpuMs.domus !== undefined && cpuMs.qemu !== undefined);
  const withFirst = rows.some(({ firstMs }) => firstMs !== undefined);
  const head = [
    'program',
    'group',
    ...subjects.map((name) => `${TITLES[name]} ms`),
    ...(withFirst ? ['Domus ms, the first time'] : []),
    ...others.map((name) => `Domus / ${TITLES[name]}`),
    ...(withCpu ? ['CPU time, Domus / QEMU'] : []),
  ];
  const time = (row: ProgramRow, name: SubjectName): string => {
    const ms = row.ms[name];
    return ms === undefined ? (row.wrong[name] === undefined ? '' : 'failed') : milliseconds(ms);
  };
  const cpu = ({ cpuMs: { domus, qemu } }: ProgramRow): string =>
    domus === undefined || qemu === undefined ? '' : ratioText(domus / qemu);
  return table(
    head,
    rows.map((row) => [
      `${row.id}: ${row.what}`,
      row.group,
      ...subjects.map((name) => time(row, name)),
      ...(withFirst ? [row.firstMs === undefined ? '' : milliseconds(row.firstMs)] : []),
      ...others.map((name) => {
        const value = ratio(row, name);
        return value === undefined ? '' : ratioText(value);
      }),
      ...(withCpu ? [cpu(row)] : []),
    ]),
  );
}

const verdict = ({ value, target: { limit, aim } }: Figure): string =>
  value <= aim ? 'aim reached' : value <= limit ? 'reached' : '**missed**';

export function performancePage({ machine, versions, rounds, rows, figures, measurements }: PageFacts): string {
  const lines = [
    '# Performance',
    '',
    'Written by `npm run bench`. The programs are in `scripts/bench/programs` and, for whole programs, Debian packages; each runs as a',
    'process natively, in a domain, in QEMU without hardware virtualization (same kernel, same disk, one CPU), in User-Mode Linux and in',
    `v86 (the small ones, built for i386), as far as they are there, in turns: medians of ${rounds} runs, of fewer where a run takes seconds.`,
    'Domus keeps what it translates for later domains. "The first time" is the first run in a domain of a xend that had never run the program;',
    'the other times are from a second domain, booted when the first had run everything as often and its translations had been compiled.',
    "A time is a program's from fork to end by the guest's clock, which is checked against this machine's; one that prints something else",
    'than natively has no time. What Domus, QEMU and v86 need to translate a program is in its time, but for what they have kept. Ratios below 1: the domain is faster.',
    'Where the machine is shared with others, the ratio of CPU times is the steadier figure.',
    '',
    ...Object.entries(machine).map(([name, value]) => `- ${name}: ${value}`),
    ...Object.entries(versions).map(([name, value]) => `- ${name}: ${value}`),
    '',
    '## Figures',
    '',
    table(
      ['figure', 'measured', 'the first time', 'must reach', 'aim', '', 'worst row'],
      figures.map((figure) => [
        `${figure.target.what}${figure.target.of === 'mean' ? `, geometric mean of ${figure.rows}` : ''}`,
        ratioText(figure.value),
        figure.first === undefined ? '' : ratioText(figure.first),
        String(figure.target.limit),
        String(figure.target.aim),
        verdict(figure),
        figure.worst,
      ]),
    ),
    '',
    '## Programs',
    '',
    programTable(rows),
    '',
  ];
  if (measurements.length > 0) {
    const shown = (value: number): string => (value >= 100 ? value.toFixed(0) : value.toFixed(2));
    lines.push(
      '## Engine and idle domain',
      '',
      table(
        ['', 'measured', 'beside it'],
        measurements.map(({ what, value, unit, beside }) => [
          what,
          `${shown(value)} ${unit}`,
          beside ? `${beside.what} ${shown(beside.value)}` : '',
        ]),
      ),
      '',
    );
  }
  return `${lines.join('\n')}`;
}
