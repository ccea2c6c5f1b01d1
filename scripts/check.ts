/** `npm run check`: everything that must hold before a commit, in the order of how soon it answers. The same here and in CI. */
import { spawnSync } from 'node:child_process';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const bin = (name: string): string => path.join(root, 'node_modules', '.bin', name);

interface Step {
  readonly name: string;
  readonly command: readonly string[];
  readonly slow?: true;
}

// biome-ignore format: a table
const STEPS: readonly Step[] = [
  { name: 'direction of imports',                command: [process.execPath, 'scripts/layers.ts'] },
  { name: 'nothing of one machine',              command: [process.execPath, 'scripts/portable.ts'] },
  { name: 'documents made from the code',       command: [process.execPath, 'scripts/docs.ts', '--check'] },
  { name: 'types of the core, without Node',     command: [bin('tsc'), '-p', 'tsconfig.core.json', '--pretty', 'false'] },
  { name: 'types',                               command: [bin('tsc'), '-p', 'tsconfig.json', '--pretty', 'false'] },
  { name: 'format and lint',                     command: [bin('biome'), 'check', '--error-on-warnings'] },
  { name: 'tests',                               command: [process.execPath, 'scripts/test.ts'], slow: true },
];

const { values } = parseArgs({ options: { quick: { type: 'boolean' }, help: { type: 'boolean' } } });
if (values.help) {
  console.log(
    `usage: check.ts [--quick]\n  --quick  without the tests\n${STEPS.map(({ name }) => `  * ${name}`).join('\n')}`,
  );
  process.exit(0);
}

const failed: string[] = [];
for (const { name, command, slow } of STEPS) {
  if (slow && values.quick) continue;
  const started = performance.now();
  const [program, ...args] = command;
  // The tests talk while they run; of the others only what they complain of is of interest.
  const { status, stdout, stderr, error } = spawnSync(program!, args, {
    cwd: root,
    encoding: 'utf8',
    stdio: ['ignore', slow ? 'inherit' : 'pipe', slow ? 'inherit' : 'pipe'],
    maxBuffer: 1 << 28,
  });
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  console.log(`${status === 0 ? 'ok    ' : 'FAILED'}  ${name} (${seconds} s)`);
  if (status === 0) continue;
  failed.push(name);
  process.stdout.write(`${stdout ?? ''}${stderr ?? ''}${error ? `${error.message}\n` : ''}`);
}
if (failed.length > 0) {
  console.log(`\ncheck failed: ${failed.join('; ')}`);
  process.exitCode = 1;
}
