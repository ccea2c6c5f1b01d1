/**
 * Many ttylinux domains at once: how fast they are created, whether each one answers on its console, what they cost the host
 * while they are idle, and how long `xm list` takes with all of them. Linux only.  scripts/many.ts --help
 */
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { loadConfig } from '../src/config/load.ts';
import { GuestError, prepareGuest } from '../src/guest/index.ts';
import { openConsole } from '../src/host/console-link.ts';
import { guestCache, pidFile } from '../src/host/paths.ts';
import { readPidFile } from '../src/host/process-identity.ts';
import { median } from './bench/report.ts';
import { OwnXend } from './lib/own-xend.ts';
import { availableMiB, cpuMsSince, proportionalMiB, threadsCpuMs } from './lib/process-cost.ts';
import { writeTtylinux } from './lib/ttylinux.ts';

/** ttylinux has no memory cgroups, whose statistics wake an idle guest every two seconds. */
const TTYLINUX_EXTRA = 'cgroup_disable=memory';

const { values } = parseArgs({
  options: {
    domains: { type: 'string', default: '100' },
    booting: { type: 'string', default: String(os.availableParallelism()) },
    watch: { type: 'string', default: '30' },
    extra: { type: 'string', default: TTYLINUX_EXTRA },
    help: { type: 'boolean' },
  },
});
if (values.help) {
  console.log('usage: many.ts [--domains N] [--booting N] [--watch SECONDS] [--extra OPTIONS]');
  console.log('  --domains  how many (100)');
  console.log('  --booting  how many boot at the same time (as many as there are CPUs)');
  console.log('  --watch    how long the idle domains are watched (30)');
  console.log(`  --extra    more kernel options (${TTYLINUX_EXTRA})`);
  process.exit(0);
}
const count = Number(values.domains);
const booting = Number(values.booting);
const watchMs = Number(values.watch) * 1000;
if (!(count >= 1 && booting >= 1 && watchMs > 0)) {
  console.error('many.ts: every option is a number above 0');
  process.exit(1);
}

const LOGIN = /ttylinux login: $/;
const LOGIN_MS = 300_000;
const ANSWER_MS = 30_000;
/**
 * What happens once after a boot is no part of being idle: the guest's journal commits, it looks at free inodes, and its monitor
 * collects garbage, gives back memory and, for some two minutes, finishes compiling what the boot made hot.
 */
const SETTLE_MS = 180_000;
const CREATED_AT_ONCE = 2;
const LIST_RUNS = 5;

const begun = performance.now();
function say(text: string): void {
  console.log(`[${((performance.now() - begun) / 1000).toFixed(1).padStart(6)} s] ${text}`);
}

/** Does `work` for each of `items`, `width` at a time. */
async function each<T>(items: readonly T[], width: number, work: (item: T) => Promise<void>): Promise<void> {
  const rest = items.values();
  await Promise.all(
    Array.from({ length: Math.min(width, items.length) }, async () => {
      for (const item of rest) await work(item);
    }),
  );
}

const xend = new OwnXend();
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => void xend.stop().then(() => process.exit(1)));
}

/** Attach to a console and wait for the login prompt; `again`: type an empty name then, and wait until it asks once more. */
async function prompted(socket: string, again: boolean, ms: number): Promise<void> {
  const { socket: console_ } = await openConsole(socket, { mode: again ? 'write' : 'watch', who: 'many.ts' });
  let seen = '';
  let prompts = again ? 2 : 1;
  try {
    await new Promise<void>((resolve, reject) => {
      console_.on('data', (bytes: Buffer) => {
        seen = (seen + bytes.toString('latin1')).slice(-4000);
        if (!LOGIN.test(seen)) return;
        if (--prompts === 0) return resolve();
        seen = '';
        console_.write('\n');
      });
      once(console_, 'close').then(() => reject(new Error('the console was closed')), reject);
      setTimeout(() => reject(new Error(`no prompt within ${ms / 1000} s:\n${seen}`)), ms).unref();
      console_.resume();
    });
  } finally {
    console_.destroy();
  }
}

interface Figure {
  readonly what: string;
  readonly value: string;
  readonly wanted: string;
  readonly reached: boolean;
}

async function main(): Promise<Figure[]> {
  const guest = await prepareGuest({ cacheDir: guestCache(), onProgress: say });
  await xend.start();
  const client = xend.client();
  const names = Array.from({ length: count }, (_, i) => `many${i + 1}`);
  say(`writing ${count} disks`);
  const configs = new Map<string, string>();
  for (const name of names) configs.set(name, (await writeTtylinux(guest, xend.folder, { name })).config);
  const freeBefore = availableMiB();

  say(`creating ${count} domains, ${CREATED_AT_ONCE} at a time`);
  const consoles = new Map<string, string>();
  const created = performance.now();
  await each(names, CREATED_AT_ONCE, async (name) => {
    const { config } = await loadConfig({
      file: configs.get(name)!,
      search: [],
      variables: [['extra', values.extra]],
      warn: say,
      print: say,
    });
    await client.call('POST /domains', { config });
    consoles.set(name, (await client.call('GET /domains/:name/console', { name })).socket);
  });
  const perSecond = (1000 * count) / (performance.now() - created);
  say(`created ${perSecond.toFixed(2)} a second; now they boot, ${booting} at a time`);

  const booted = performance.now();
  let done = 0;
  await each(names, booting, async (name) => {
    const login = prompted(consoles.get(name)!, false, LOGIN_MS);
    await client.call('POST /domains/:name/unpause', { name });
    await login;
    if (++done % 10 === 0) say(`${done} have booted`);
  });
  const bootSeconds = (performance.now() - booted) / 1000;

  say(`all of them wait for somebody to log in; watching them for ${watchMs / 1000} s, after ${SETTLE_MS / 1000} s`);
  await sleep(SETTLE_MS);
  const monitors = xend.monitors().map(({ pid }) => pid);
  const daemon = readPidFile(pidFile(xend.paths))!.pid;
  const before = monitors.map(threadsCpuMs);
  const daemonBefore = threadsCpuMs(daemon);
  const watched = performance.now();
  await sleep(watchMs);
  const elapsed = performance.now() - watched;
  const percents = monitors.map((pid, i) => (100 * cpuMsSince(pid, before[i]!)) / elapsed);
  const ofXend = (100 * cpuMsSince(daemon, daemonBefore)) / elapsed;
  const percent = percents.reduce((sum, one) => sum + one, ofXend);

  const lists: number[] = [];
  for (let i = 0; i < LIST_RUNS; i++) {
    const started = performance.now();
    const { code, output } = await xend.run('xm', ['list']);
    lists.push((performance.now() - started) / 1000);
    const listed = output.split('\n').filter((line) => line.startsWith('many')).length;
    if (code !== 0 || listed !== count) throw new Error(`xm list shows ${listed} of ${count} domains\n${output}`);
  }

  say('asking each of them for an answer on its console');
  const answers: number[] = [];
  await each(names, CREATED_AT_ONCE, async (name) => {
    const asked = performance.now();
    await prompted(consoles.get(name)!, true, ANSWER_MS);
    answers.push((performance.now() - asked) / 1000);
  });
  const memory = monitors.map(proportionalMiB);
  const memorySum = memory.reduce((sum, one) => sum + one, 0);
  const taken = freeBefore - availableMiB();
  client.close();
  // biome-ignore format: a table
  return [
    { what: 'created (built, not booted), a second', value: perSecond.toFixed(2),              wanted: 'at least 2',   reached: perSecond >= 2 },
    { what: `booted, ${booting} at a time, a second`, value: (count / bootSeconds).toFixed(2), wanted: '',           reached: true },
    { what: 'answer on their console',          value: `${answers.length}, the slowest after ${Math.max(...answers).toFixed(2)} s`, wanted: `${count}`, reached: answers.length === count },
    { what: 'host CPU of all and xend, % of one core', value: percent.toFixed(2),         wanted: 'below 10',     reached: percent < 10 },
    { what: 'host CPU of one, %: median, most', value: `${median(percents).toFixed(3)}, ${Math.max(...percents).toFixed(3)}`, wanted: '', reached: true },
    { what: 'host CPU of xend, %',              value: ofXend.toFixed(2),                 wanted: '',             reached: true },
    { what: 'xm list, s',                       value: median(lists).toFixed(3),          wanted: 'below 0.3',    reached: median(lists) < 0.3 },
    { what: 'memory of one monitor with its guest, MiB (PSS), median', value: median(memory).toFixed(0), wanted: '', reached: true },
    { what: 'memory of all, MiB (PSS)',         value: memorySum.toFixed(0),              wanted: `below ${Math.round(os.totalmem() / 2 ** 20)}`, reached: memorySum < os.totalmem() / 2 ** 20 },
    { what: 'memory that the host has less, MiB', value: taken.toFixed(0),                wanted: '',             reached: true },
  ];
}

try {
  const cpu = os.cpus()[0]?.model ?? 'unknown';
  say(
    `${count} domains on ${os.availableParallelism()} CPUs (${cpu}), ${Math.round(os.totalmem() / 2 ** 20)} MiB, load ${os.loadavg()[0]!.toFixed(1)}`,
  );
  const figures = await main();
  for (const { what, value, wanted, reached } of figures) {
    console.log(`${what.padEnd(56)}${value.padEnd(30)}${wanted && `${wanted}: ${reached ? 'yes' : 'NO'}`}`.trimEnd());
  }
  const version = execFileSync('uname', ['-sr'], { encoding: 'utf8' }).trim();
  console.log(`${version}, node ${process.versions.node}, ${path.basename(guestCache())}`);
} catch (error) {
  process.exitCode = 1;
  console.error(`many.ts: ${error instanceof GuestError ? error.message : (error as Error).stack}`);
} finally {
  await xend.stop();
  say('all of them are gone');
}
