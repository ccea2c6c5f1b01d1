/**
 * `npm test`: all tests, or those whose paths contain one of the given words. What a system test needs (a kernel, a disk) it
 * prepares itself, so this works on a machine that has only just been set up.
 */
import { spawn } from 'node:child_process';
import { globSync } from 'node:fs';
import { constants } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const PATTERNS = ['src/**/*.test.ts', 'test/**/*.test.ts', 'scripts/**/*.test.ts'];
/** Two, as system tests measure time limits in seconds of a machine that is not overrun; more cores shorten little. */
const CONCURRENCY = 2;
/** A file that is not done by then hangs: the whole run takes less. */
const FILE_TIMEOUT_MS = 8 * 60_000;

const { values, positionals } = parseArgs({
  options: { help: { type: 'boolean' }, only: { type: 'string' } },
  allowPositionals: true,
});
if (values.help) {
  console.log('usage: test.ts [--only NAME] [WORD...]');
  console.log('  WORD    only files with this in their path, such as src/store or grant');
  console.log('  --only  only tests whose name matches this regular expression');
  process.exit(0);
}

const all = PATTERNS.flatMap((pattern) => globSync(pattern, { cwd: root })).sort();
const chosen = all.filter((file) => positionals.length === 0 || positionals.some((word) => file.includes(word)));
if (chosen.length === 0) {
  console.error(`test.ts: no test file has ${positionals.join(' or ')} in its path`);
  process.exit(1);
}

const child = spawn(
  process.execPath,
  [
    '--test',
    `--test-concurrency=${CONCURRENCY}`,
    `--test-timeout=${FILE_TIMEOUT_MS}`,
    ...(values.only ? [`--test-name-pattern=${values.only}`] : []),
    ...chosen,
  ],
  { cwd: root, stdio: ['ignore', 'inherit', 'inherit'] },
);
for (const signal of ['SIGTERM', 'SIGHUP', 'SIGINT'] as const) process.on(signal, () => child.kill(signal));
child.on('exit', (code, signal) => {
  process.exitCode = code ?? 128 + (constants.signals[signal!] ?? 1);
});
