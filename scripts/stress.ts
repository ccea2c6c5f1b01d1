/**
 * `npm run stress`: Linux to the login prompt, and some of its programs, with an engine that makes everything hard for itself
 * (DOMUS_ENGINE=stress, src/host/engine-mode.ts). A mistake that only shows at rare moments has many of them here.
 */
import { parseArgs } from 'node:util';
import { GuestError, prepareGuest } from '../src/guest/index.ts';
import { ENGINE_MODES } from '../src/host/engine-mode.ts';
import { guestCache } from '../src/host/paths.ts';
import { ConsoleFailure } from './lib/console-driver.ts';
import { OwnXend } from './lib/own-xend.ts';
import { writeTtylinux } from './lib/ttylinux.ts';
import { TtylinuxConsole } from './lib/ttylinux-console.ts';

const { values } = parseArgs({
  options: { mode: { type: 'string', default: 'stress' }, quiet: { type: 'boolean' }, help: { type: 'boolean' } },
});
if (values.help) {
  console.log('usage: stress.ts [--mode MODE] [--quiet]');
  console.log(`  --mode MODE  ${Object.keys(ENGINE_MODES).join(', ')} (stress)`);
  console.log('  --quiet      without what the guest prints');
  process.exit(0);
}

const NAME = 'stress';
/** Everything takes many times as long, and longer where the machine is busy with other things. */
const PATIENCE = { loginS: 1800, stepS: 600 };
/** Programs whose results are known: text, numbers, hashes, pipes, signals, processes. */
// biome-ignore format: a table
const TYPED: readonly [command: string, answer: RegExp][] = [
  ['uname -m',                                                                               /^x86_64$/m],
  ['seq 1 2000 | sha256sum',                                                                 /^6251e5743b6fd6a7d606130bdf7c15077ce85ebd3a0fdee284d15a46df199e38 /m],
  ['seq 1 3000 | gzip -c | gunzip -c | md5sum',                                              /^ee9762749fc5338b6c9b0948d14219c7 /m],
  ['seq 1 500 | sort -r | head -n 1',                                                        /^99$/m],
  [`awk 'BEGIN { for (i = 0; i < 5000; i++) s += i / 7; printf "%.6f\\n", s }'`,           /^1785357\.142857$/m],
  ['i=0; while [ $i -lt 20 ]; do (exit $i) & i=$((i + 1)); done; wait; echo all have ended', /^all have ended$/m],
];

process.env.DOMUS_ENGINE = values.mode;
const xend = new OwnXend();
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => void xend.stop().then(() => process.exit(1)));
}
let keep = false;
try {
  const guest = await prepareGuest({ cacheDir: guestCache(), onProgress: (text) => console.log(text) });
  const { config } = await writeTtylinux(guest, xend.folder, { name: NAME });
  await xend.start();
  const show = values.quiet ? undefined : (text: string) => void process.stdout.write(text);
  const tty = new TtylinuxConsole(xend, ['create', '-c', config], show, PATIENCE);
  const seconds = await tty.booted();
  await tty.logIn();
  for (const [command, expected] of TYPED) {
    const answer = await tty.run(command);
    if (!expected.test(answer)) throw new ConsoleFailure(`"${command}" answered\n${answer}`);
  }
  await xend.run('xm', ['destroy', NAME]);
  console.log(
    `\nlogin prompt after ${seconds.toFixed(0)} s of ${values.mode}, and every program answered as it should`,
  );
} catch (error) {
  process.exitCode = 1;
  const known = [ConsoleFailure, GuestError].some((kind) => error instanceof kind);
  console.error(`\nstress: ${known ? (error as Error).message : (error as Error).stack}`);
  keep = true;
}
await xend.stop(keep);
if (keep) console.error(`stress: the logs are in ${xend.paths.log}`);
