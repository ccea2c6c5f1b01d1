// Runs a TypeScript program of this checkout with the Node that the checkout brings:  node scripts/run.mjs SCRIPT [ARG...]
// Installs the packages first when they are missing or not those of package-lock.json. Plain JavaScript for Node 18 and
// newer, so that the machine's own Node can be old. Signals and the exit code pass through.
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { constants } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const node = path.join(root, 'node_modules', '.bin', process.platform === 'win32' ? 'node.cmd' : 'node');

/** npm records what it installed in node_modules/.package-lock.json; every required package must be there as locked. */
function installed() {
  if (!existsSync(node)) return false;
  try {
    const locked = JSON.parse(readFileSync(path.join(root, 'package-lock.json'), 'utf8')).packages;
    const present = JSON.parse(readFileSync(path.join(root, 'node_modules', '.package-lock.json'), 'utf8')).packages;
    return Object.entries(locked).every(
      ([where, { version, optional, devOptional }]) =>
        where === '' || optional || devOptional || present[where]?.version === version,
    );
  } catch {
    return false;
  }
}

function fail(text) {
  process.stderr.write(`run.mjs: ${text}\n`);
  process.exit(1);
}

const [script, ...args] = process.argv.slice(2);
if (!script || script === '--help' || script === '-h') {
  process.stdout.write('usage: node scripts/run.mjs SCRIPT [ARG...]\n');
  process.exit(script ? 0 : 1);
}
if (!installed()) {
  process.stderr.write('installing the packages of package-lock.json (once) ...\n');
  // The `node` package puts its binary in place by an install script, so scripts must be on whatever the user's setting is.
  const npm = spawnSync('npm', ['ci', '--ignore-scripts=false', '--no-fund', '--no-audit'], {
    cwd: root,
    stdio: ['ignore', 2, 2],
    shell: process.platform === 'win32',
  });
  if (npm.error) fail(`npm does not start: ${npm.error.message}`);
  if (npm.status !== 0) fail('npm ci failed; its messages are above');
  if (!existsSync(node)) fail(`npm ci brought no ${path.relative(root, node)}; are install scripts forbidden?`);
}

// The script's path is taken from the checkout first: `npm run` starts there, people start anywhere.
const file = existsSync(path.join(root, script)) ? path.join(root, script) : path.resolve(script);
if (typeof process.execve === 'function' && process.platform !== 'win32') {
  process.execve(node, [node, file, ...args], process.env);
}
const child = spawn(node, [file, ...args], { stdio: 'inherit', shell: process.platform === 'win32' });
for (const signal of ['SIGTERM', 'SIGHUP', 'SIGINT', 'SIGQUIT']) {
  // Ctrl-C on a terminal reaches the child by itself: passing it on would deliver it twice.
  const fromTerminal = process.stdin.isTTY && (signal === 'SIGINT' || signal === 'SIGQUIT');
  process.on(signal, () => fromTerminal || child.kill(signal));
}
child.on('error', (error) => fail(`cannot start ${node}: ${error.message}`));
child.on('exit', (code, signal) => process.exit(code ?? 128 + (constants.signals[signal] ?? 1)));
