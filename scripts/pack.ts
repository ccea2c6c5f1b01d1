/**
 * `npm run pack`: the package as npm installs it, FOLDER/domus-VERSION.tgz. Node strips no types below node_modules, so there the
 * sources are JavaScript, with declarations beside them; everything else lies where it does in a checkout.
 */
import { spawnSync } from 'node:child_process';
import { cpSync, globSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { joinMonitor } from '../src/xend/monitor-program.ts';

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const AS_THEY_ARE = ['bin', 'etc', 'docs/sdk.md', 'README.md', 'CHANGELOG.md', 'LICENSE'];
/** A file named for an import, a worker or a child process. */
const NAMED_FILE = /(\bfrom\s+|\bimport\(|\bnew URL\()(['"])(\.{1,2}\/[^'"\n]*)\.ts\2/g;

const { values, positionals } = parseArgs({ options: { help: { type: 'boolean' } }, allowPositionals: true });
if (values.help) {
  console.log('usage: pack.ts [FOLDER]   makes FOLDER/domus-VERSION.tgz; FOLDER is dist if not given');
  process.exit(0);
}
const out = path.resolve(positionals[0] ?? path.join(root, 'dist'));
const tree = path.join(out, 'package');
rmSync(tree, { recursive: true, force: true });
mkdirSync(tree, { recursive: true });

const tsc = path.join(root, 'node_modules', '.bin', 'tsc');
run(tsc, ['-p', path.join(root, 'tsconfig.package.json'), '--outDir', path.join(tree, 'src'), '--pretty', 'false']);
for (const name of globSync('src/**/*.{js,d.ts}', { cwd: tree })) {
  const file = path.join(tree, name);
  writeFileSync(file, readFileSync(file, 'utf8').replace(NAMED_FILE, '$1$2$3.js$2'));
}
for (const name of globSync('src/**/files/*', { cwd: root }))
  cpSync(path.join(root, name), path.join(tree, name), { recursive: true });
for (const name of AS_THEY_ARE) cpSync(path.join(root, name), path.join(tree, name), { recursive: true });

const monitor = path.join(tree, 'src', 'monitor');
await joinMonitor(monitor, '.js', monitor, '.js');

const own = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8')) as Record<string, unknown>;
const { name, version, description, license, type, bin, engines, dependencies, optionalDependencies } = own;
const exports = { '.': { types: './src/sdk/index.d.ts', default: './src/sdk/index.js' } };
writeFileSync(
  path.join(tree, 'package.json'),
  `${JSON.stringify({ name, version, description, license, type, exports, bin, engines, dependencies, optionalDependencies }, null, 2)}\n`,
);
run('npm', ['pack', '--silent', '--pack-destination', out], tree);
rmSync(tree, { recursive: true, force: true });
console.log(path.join(out, `${name}-${version}.tgz`));

function run(command: string, args: readonly string[], cwd = root): void {
  const { status, stdout, stderr, error } = spawnSync(command, args, { cwd, encoding: 'utf8' });
  if (status === 0) return;
  process.stderr.write(`pack.ts: ${command}: ${error?.message ?? stdout + stderr}\n`);
  process.exit(1);
}
