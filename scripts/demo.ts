/**
 * `npm run demo`: the manual's first domain, from nothing. Fetches a kernel (once), starts a xend of its own, makes the
 * configuration file and runs `xm create -c` on it: on a terminal for a person, otherwise it does what a person would and
 * fails when anything is missing. Either way nothing is left running.
 */
import { once } from 'node:events';
import { parseArgs } from 'node:util';
import { GuestError, prepareGuest } from '../src/guest/index.ts';
import { guestCache } from '../src/host/paths.ts';
import { ConsoleFailure } from './lib/console-driver.ts';
import { OwnXend } from './lib/own-xend.ts';
import { writeTtylinux } from './lib/ttylinux.ts';
import { TtylinuxConsole } from './lib/ttylinux-console.ts';

const { values } = parseArgs({
  options: { batch: { type: 'boolean' }, memory: { type: 'string' }, help: { type: 'boolean' } },
});
if (values.help) {
  console.log('usage: demo.ts [--batch] [--memory MIB]');
  console.log('  --batch   log in and look around by itself, as it does where there is no terminal');
  process.exit(0);
}

const NAME = 'ttylinux';
const SHUTDOWN_S = 120;

/** What is typed at the shell, and what its answer must contain. */
// biome-ignore format: a table
const TYPED: readonly [command: string, answer: RegExp][] = [
  ['uname -a',               /^Linux ttylinux \d.* x86_64 GNU\/Linux$/m],
  ['cat /proc/cpuinfo',      /^processor\s*: 0$[\s\S]*^flags\s*: .*\bsse2\b/m],
  ['ls -l /sys/hypervisor',  /\btype$/m],
  ['cat /sys/hypervisor/type', /^xen$/m],
  ['df',                     /^\S+ +\d+ +\d+ +\d+ +\d+% \/$/m],
];

const started = performance.now();
function say(text: string): void {
  console.log(`[${((performance.now() - started) / 1000).toFixed(1).padStart(5)} s] ${text}`);
}

/** A command of ours failed; it has said why. */
class DemoFailure extends Error {}

const xend = new OwnXend();
let interrupted = false;
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => {
    interrupted = true;
    void xend.stop().then(() => process.exit(1));
  });
}
// A terminal that was closed must not keep us from tidying up.
for (const stream of [process.stdout, process.stderr]) stream.on('error', () => {});

/** A command for everyone to see, with what it prints. */
async function show(...args: string[]): Promise<void> {
  console.log(`$ xm ${args.join(' ')}`);
  const { code, output } = await xend.run('xm', args);
  process.stdout.write(output);
  if (code !== 0) throw new DemoFailure(`xm ${args.join(' ')} failed with exit code ${code}`);
}

async function shutDown(): Promise<void> {
  const timer = setTimeout(() => {
    console.error(`demo: ${NAME} has not shut down within ${SHUTDOWN_S} s: giving up`);
    void xend.stop().then(() => process.exit(1));
  }, SHUTDOWN_S * 1000);
  try {
    await show('shutdown', '-w', NAME);
  } finally {
    clearTimeout(timer);
  }
}

async function byHand(config: string): Promise<void> {
  say('the console is yours: log in as root, password root; Ctrl-] leaves it');
  const xm = xend.spawn('xm', ['create', '-c', config], { stdio: 'inherit' });
  const [code] = (await once(xm, 'exit')) as [number | null];
  if (code !== 0) throw new DemoFailure(`xm create ended with exit code ${code}`);
  const { output } = await xend.run('xm', ['list']);
  if (!output.split('\n').some((line) => line.startsWith(`${NAME} `))) return;
  process.stdout.write(output);
  await shutDown();
}

async function byItself(config: string): Promise<void> {
  const tty = new TtylinuxConsole(xend, ['create', '-c', config], (text) => process.stdout.write(text));
  const seconds = (await tty.booted()).toFixed(1);
  await tty.logIn();
  for (const [command, expected] of TYPED) {
    if (expected.test(await tty.run(command))) continue;
    throw new ConsoleFailure(`"${command}" did not answer ${expected.source}\n${tty.driver.lastLines()}`);
  }
  console.log('\n');
  await show('list');
  await shutDown();
  await tty.ended();
  say(`login prompt ${seconds} s after xm create; every step was as it should be`);
}

async function main(): Promise<void> {
  const guest = await prepareGuest({ cacheDir: guestCache(), onProgress: say });
  say(`kernel ${guest.release}, unmodified, from Debian's package ${guest.version}`);
  const memoryMiB = values.memory === undefined ? undefined : Number(values.memory);
  const { config, text } = await writeTtylinux(guest, xend.folder, { name: NAME, ...(memoryMiB ? { memoryMiB } : {}) });
  await xend.start();
  say('xend runs; the configuration file:');
  console.log(text.replace(/^(?=.)/gm, '    '));
  console.log(`$ xm create -c ${NAME}.cfg`);
  const person = process.stdin.isTTY && process.stdout.isTTY && !values.batch;
  await (person ? byHand(config) : byItself(config));
}

let keep = false;
try {
  await main();
} catch (error) {
  process.exitCode = 1;
  if (!interrupted) {
    const known = [DemoFailure, ConsoleFailure, GuestError].some((kind) => error instanceof kind);
    console.error(`\ndemo: ${known ? (error as Error).message : (error as Error).stack}`);
    keep = true;
  }
}
await xend.stop(keep);
if (keep) console.error(`demo: the logs are in ${xend.paths.log}`);
else if (!interrupted) say('xend is stopped, nothing is left running');
