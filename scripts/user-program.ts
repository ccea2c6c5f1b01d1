/**
 * Runs a Linux program under the engine alone: no kernel, no hypervisor and no devices around it, its system calls performed in
 * TypeScript. For measuring and profiling the translator (docs/profiling.md).  scripts/user-program.ts --help
 */
import { openSync, writeFileSync, writeSync } from 'node:fs';
import { Session } from 'node:inspector/promises';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { engineMode } from '../src/host/engine-mode.ts';
import { WatchedRegions } from '../src/host/regions/watched.ts';
import { MONITOR_FLAGS } from '../src/xend/monitor-link.ts';
import { Machine } from './user-program/machine.ts';
import { Input, Nothing, Output, RegularFile } from './user-program/open-files.ts';
import type { Process } from './user-program/process.ts';
import { regionLines, statisticsLines, timesLine, timesNow } from './user-program/report.ts';
import { Tree } from './user-program/tree.ts';

/** As many as a vCPU usually has. */
const SLICE_BRANCHES = 40_000;

const HELP = `usage: node scripts/run.mjs scripts/user-program.ts [option]... PROGRAM [ARG]...

Runs a static or dynamic ELF program for x86-64, with one thread and without signal handlers, and tells what it cost. It may
read the files below the root and write to its stdout and stderr. The exit code is the program's.

  --root DIR       the folder that is the program's root; PROGRAM and what it names are below it (default /)
  --stdin FILE     what the program reads (default: what we are given)
  --quiet          throw its output to stdout away
  --statistics     tell why the engine came back, how often, and the engine's own counters
  --count N        tell of the N regions that were entered most often; counting makes each entry dearer
  --cpu-prof FILE  write a profile of V8's, of the run alone
  --tier 0|1       0: the interpreter alone; 1: hot code is translated as well (default)
  --threshold N    how often control comes to an instruction before its region is translated
  --slice N        taken branches before the engine returns to look around (default ${SLICE_BRANCHES})
  --help

DOMUS_ENGINE chooses among the engine's modes as it does for domains.`;

const OPTIONS = {
  root: { type: 'string', default: '/' },
  stdin: { type: 'string' },
  quiet: { type: 'boolean', default: false },
  statistics: { type: 'boolean', default: false },
  count: { type: 'string' },
  'cpu-prof': { type: 'string' },
  tier: { type: 'string' },
  threshold: { type: 'string' },
  slice: { type: 'string' },
  help: { type: 'boolean', default: false },
} as const;

function fail(text: string): never {
  process.stderr.write(`user-program: ${text}\n`);
  process.exit(1);
}

/** Ours end where the program's name is: what follows is its own. */
function commandLine(argv: readonly string[]) {
  const { tokens } = parseArgs({
    args: [...argv],
    options: OPTIONS,
    strict: false,
    allowPositionals: true,
    tokens: true,
  });
  const name = tokens.find(({ kind }) => kind === 'positional');
  const at = name?.index ?? argv.length;
  try {
    return { values: parseArgs({ args: argv.slice(0, at), options: OPTIONS }).values, program: argv.slice(at) };
  } catch (error) {
    return fail((error as Error).message.split('\n')[0]!);
  }
}

const { values, program } = commandLine(process.argv.slice(2));
if (values.help) {
  console.log(HELP);
  process.exit(0);
}

function positive(name: 'count' | 'threshold' | 'slice'): number | undefined {
  const text = values[name];
  if (text === undefined) return undefined;
  const value = Number(text);
  return Number.isSafeInteger(value) && value > 0 ? value : fail(`--${name} takes a number above 0, not "${text}"`);
}
const [count, threshold, slice] = [positive('count'), positive('threshold'), positive('slice')];
if (values.tier !== undefined && !/^[01]$/.test(values.tier)) fail(`--tier takes 0 or 1, not "${values.tier}"`);
if (program.length === 0) fail('which program? --help tells more');

/** What is measured shall be what a monitor runs, and Node takes its flags at its start only: begin again with them. */
if (!MONITOR_FLAGS.every((flag) => process.execArgv.includes(flag)) && typeof process.execve === 'function') {
  // The profiler's timer would go on in the new program, whose first signal ends it.
  if (process.execArgv.some((flag) => /^--(cpu-)?prof/.test(flag))) fail('profile with our own --cpu-prof FILE');
  const own = [...process.execArgv, ...process.argv.slice(1)];
  process.execve(process.execPath, [process.execPath, ...MONITOR_FLAGS, ...own], process.env);
}

/** What a monitor's engine has, unless it is told otherwise. */
function makeMachine(): Machine {
  const mode = engineMode(process.env);
  const tier1 = values.tier === '0' ? (false as const) : threshold === undefined ? mode.engine.tier1 : { threshold };
  const engine = { ...mode.engine, ...(tier1 !== undefined && { tier1 }) };
  const usual = mode.slices?.() ?? (() => SLICE_BRANCHES);
  return new Machine({ engine, slice: slice === undefined ? usual : () => slice });
}

/** Blocking, so that the order is kept with what we say ourselves, and nothing is left when we end. */
function writeAll(descriptor: number, bytes: Uint8Array): void {
  for (let done = 0; done < bytes.length; ) done += writeSync(descriptor, bytes, done);
}

function start(): { machine: Machine; guest: Process } {
  try {
    const machine = makeMachine();
    const name = path.posix.join('/', program[0]!);
    const input = values.stdin === undefined ? new Input(0) : new RegularFile(openSync(values.stdin, 'r'));
    const output = values.quiet ? new Nothing() : new Output((bytes) => writeAll(1, bytes));
    const errors = new Output((bytes) => writeAll(2, bytes));
    const tree = new Tree(values.root, name);
    return { machine, guest: machine.start([name, ...program.slice(1)], tree, [input, output, errors]) };
  } catch (error) {
    return fail((error as Error).message);
  }
}

/** What `work` returns, with a profile of it written into `file` if there is to be one. */
async function profiled<T>(file: string | undefined, work: () => T): Promise<T> {
  if (file === undefined) return work();
  const session = new Session();
  session.connect();
  await session.post('Profiler.enable');
  await session.post('Profiler.start');
  const result = work();
  writeFileSync(file, JSON.stringify((await session.post('Profiler.stop')).profile));
  session.disconnect();
  return result;
}

const { machine, guest } = start();
const watched = count === undefined ? undefined : new WatchedRegions();
if (watched) machine.engine.watchRegions(watched);
const { trouble, times } = await profiled(values['cpu-prof'], () => {
  const before = timesNow();
  return { trouble: machine.run(guest), times: timesLine(before, timesNow()) };
});
const lines = [
  ...(trouble === undefined ? [] : [trouble]),
  `exit ${guest.exitCode}, ${times}`,
  ...(values.statistics ? statisticsLines(machine) : []),
  ...(watched ? regionLines(machine, watched, count!) : []),
];
writeAll(2, Buffer.from(lines.map((line) => `${line}\n`).join('')));
process.exitCode = guest.exitCode;
