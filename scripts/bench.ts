/**
 * `npm run bench`: how quick domains are on this machine, beside the machine itself, QEMU's software emulation, User-Mode Linux
 * and v86, as far as they are installed. A complete run writes docs/performance.md.
 */
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import os from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { prepareGuest } from '../src/guest/index.ts';
import { guestCache } from '../src/host/paths.ts';
import { VERSION } from '../src/xend/routes.ts';
import { bootDomain, bootRow } from './bench/boot.ts';
import type { ProgramRow } from './bench/compare.ts';
import { consoleRows } from './bench/console.ts';
import { engineRows } from './bench/engine.ts';
import { codeIsMade, IDLE_MS } from './bench/first.ts';
import { idleRows } from './bench/idle.ts';
import { latenessRows } from './bench/lateness.ts';
import { performancePage } from './bench/page.ts';
import { GROUPS, type Group, PROGRAMS } from './bench/programs.ts';
import { figures } from './bench/ratios.ts';
import { printRow, type Row } from './bench/report.ts';
import { SUBJECTS, type SubjectName } from './bench/subject.ts';
import { figureLine, tableHead, tableLine } from './bench/table.ts';
import { measureTable } from './bench/tabled.ts';
import { OwnXend } from './lib/own-xend.ts';

const PARTS = ['timer', 'table', 'engine', 'console', 'idle'] as const;
type Part = (typeof PARTS)[number];

const { values } = parseArgs({
  options: {
    json: { type: 'string' },
    rounds: { type: 'string', default: '3' },
    only: { type: 'string' },
    groups: { type: 'string' },
    rows: { type: 'string' },
    subjects: { type: 'string' },
    config: { type: 'string', multiple: true, default: [] },
    profile: { type: 'string' },
    page: { type: 'string' },
    help: { type: 'boolean' },
  },
});
if (values.help) {
  console.log('usage: bench.ts [options]; lists are separated by commas');
  console.log('  --json FILE      write machine, versions and rows to a file as well');
  console.log('  --rounds N       how often each program runs in each subject; medians count (3)');
  console.log(`  --only LIST      parts: ${PARTS.join(', ')}`);
  console.log(`  --groups LIST    of the table: ${GROUPS.join(', ')}`);
  console.log(`  --rows LIST      of the table: login, ${PROGRAMS.map(({ id }) => id).join(', ')}`);
  console.log(`  --subjects LIST  ${SUBJECTS.join(', ')}`);
  console.log('  --config LINE    a further line of the configuration of the domain that runs the programs');
  console.log(
    '  --page FILE      where the page of a run goes; docs/performance.md, when nothing is chosen or left out',
  );
  console.log('  --profile S      print a profile of the domain for S seconds beside each of its runs');
  process.exit(0);
}

function usage(text: string): never {
  console.error(`bench.ts: ${text}; see --help`);
  process.exit(1);
}

/** The chosen ones of `all`, in their order. */
function chosen<T extends string>(option: string, text: string | undefined, all: readonly T[]): readonly T[] {
  if (text === undefined) return all;
  const names = text.split(',').filter(Boolean);
  const unknown = names.find((name) => !all.some((one) => one === name));
  if (unknown !== undefined) usage(`--${option} knows no "${unknown}"`);
  return all.filter((one) => names.includes(one));
}

const restricted = values.groups !== undefined || values.rows !== undefined || values.subjects !== undefined;
const parts: readonly Part[] = chosen('only', values.only ?? (restricted ? 'table' : undefined), PARTS);
const groups: readonly Group[] = chosen('groups', values.groups, GROUPS);
const ids: readonly string[] = chosen('rows', values.rows, ['login', ...PROGRAMS.map(({ id }) => id)]);
const subjects: readonly SubjectName[] = chosen('subjects', values.subjects, SUBJECTS);
const rounds = Number(values.rounds);
if (!(rounds >= 1)) usage('--rounds is 1 or more');
const profileS = values.profile === undefined ? undefined : Number(values.profile);
const programs = PROGRAMS.filter(({ id, group }) => ids.includes(id) && groups.includes(group));
const progress = (text: string): void => console.error(`  ${text}`);

function commit(): string {
  const cwd = fileURLToPath(new URL('..', import.meta.url));
  const { status, stdout } = spawnSync('git', ['describe', '--always', '--dirty'], { cwd, encoding: 'utf8' });
  return status === 0 ? stdout.trim() : 'unknown';
}

const cpus = os.cpus();
const machine = {
  cpu: cpus[0]?.model ?? 'unknown',
  cores: os.availableParallelism(),
  memoryMiB: Math.round(os.totalmem() / (1 << 20)),
  system: `${os.type()} ${os.release()} ${os.machine()}`,
  load: os.loadavg()[0]!,
};
const versions: Record<string, string> = {
  domus: `${VERSION} (${commit()})`,
  node: process.versions.node,
  v8: process.versions.v8,
};
const rows: ProgramRow[] = [];
const measurements: Row[] = [];
const take = (more: readonly Row[]): void => {
  measurements.push(...more);
  for (const row of more) console.log(printRow(row));
};

async function withXend(work: (xend: OwnXend) => Promise<void>): Promise<void> {
  const xend = new OwnXend();
  const stop = () => void xend.stop().then(() => process.exit(1));
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
  for (const signal of signals) process.on(signal, stop);
  try {
    await xend.start();
    await work(xend);
  } finally {
    await xend.stop();
    for (const signal of signals) process.off(signal, stop);
  }
}

async function domains(): Promise<void> {
  const cacheDir = guestCache();
  const guest = await prepareGuest({ cacheDir, onProgress: progress });
  versions.kernel = `${guest.release} (${guest.version})`;
  const domus = { config: values.config, profileS };
  // Before others: what the timer runs for the first time shall not have been run, nor shall the rows of the table.
  if (parts.includes('timer')) {
    await withXend(async (xend) =>
      take(await latenessRows({ guest, xend, cacheDir }, subjects, rounds, domus, progress)),
    );
  }
  if (!parts.some((part) => ['table', 'console', 'idle'].includes(part))) return;
  await withXend(async (xend) => {
    const places = { guest, xend, cacheDir };
    if (parts.includes('table')) {
      const boots = groups.includes('boot') && ids.includes('login');
      let firstBootMs: number | undefined;
      if (boots && subjects.includes('domus')) {
        firstBootMs = 1000 * (await bootDomain(places, 'first', true));
        progress(`the first boot: ${(firstBootMs / 1000).toFixed(1)} s`);
        await sleep(IDLE_MS);
        await xend.run('xm', ['destroy', 'first']);
        await codeIsMade(xend);
      }
      if (programs.length > 0) {
        const table = await measureTable({ programs, subjects, rounds, domus }, places, progress);
        rows.push(...table.rows);
        Object.assign(versions, table.versions);
        take(table.measurements);
      }
      if (boots) {
        const row = await bootRow(places, subjects, rounds, firstBootMs, progress);
        rows.push(row);
        const booted = (['domus', 'qemu', 'uml'] as const).filter((name) => row.ms[name] !== undefined);
        console.log(`${tableHead(booted)}\n${tableLine(row, booted)}`);
      }
    }
    if (parts.includes('console')) take(await consoleRows(xend, progress));
    if (parts.includes('idle')) take(await idleRows(places, progress));
  });
}

console.log(
  `${machine.cpu}, ${machine.cores} cores, ${machine.memoryMiB} MiB, ${machine.system}, load ${machine.load.toFixed(1)}`,
);
if (parts.some((part) => part !== 'engine')) await domains();
if (parts.includes('engine')) take(engineRows());
const reached = figures(rows);
for (const figure of reached) console.log(figureLine(figure));
console.log(
  Object.entries(versions)
    .map(([name, version]) => `${name} ${version}`)
    .join(', '),
);
const complete = !restricted && values.only === undefined && values.config.length === 0 && profileS === undefined;
const page = values.page ?? (complete ? fileURLToPath(new URL('../docs/performance.md', import.meta.url)) : undefined);
if (page !== undefined) {
  writeFileSync(page, performancePage({ machine, versions, rounds, rows, figures: reached, measurements }));
}
if (values.json !== undefined) {
  // Each row's times directly in it: native, domus, qemu, uml, v86, in milliseconds.
  const flat = rows.map(({ ms, ...rest }) => ({ ...rest, ...ms }));
  writeFileSync(values.json, `${JSON.stringify({ machine, versions, rows: flat, measurements }, null, 1)}\n`);
}
