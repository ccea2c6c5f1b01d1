/** The package as npm unpacks it below node_modules, where Node strips no types: SDK, commands and declarations. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, test } from 'node:test';
import { FAKE_MACHINE } from '../../src/xend/testing.ts';

const root = path.resolve(import.meta.dirname, '../..');
const app = mkdtempSync(path.join(os.tmpdir(), 'domus-'));
after(() => rmSync(app, { recursive: true, force: true }));
const modules = path.join(app, 'node_modules');

function run(command: string, ...args: string[]): string {
  const { status, stdout, stderr } = spawnSync(command, args, {
    cwd: app,
    encoding: 'utf8',
    env: { ...process.env, DOMUS_MACHINE: FAKE_MACHINE, NODE_COMPILE_CACHE: path.join(app, 'cache') },
  });
  assert.equal(status, 0, `${command} ${args.join(' ')}: ${stdout}${stderr}`);
  return stdout;
}

test('the package is made, and unpacked where npm would put it', () => {
  const tarball = run(process.execPath, path.join(root, 'scripts/pack.ts'), app).trim();
  mkdirSync(path.join(modules, 'domus'), { recursive: true });
  run('tar', '-xzf', tarball, '-C', path.join(modules, 'domus'), '--strip-components=1');
  for (const name of readdirSync(path.join(root, 'node_modules')))
    symlinkSync(path.join(root, 'node_modules', name), path.join(modules, name));
  const files = readdirSync(path.join(modules, 'domus'), { recursive: true }).map(String);
  assert.deepEqual(
    files.filter((name) => /(?<!\.d)\.ts$|test|fake/.test(name)),
    [],
  );
  assert.ok(files.includes('src/guest/files/initramfs/init'));
});

test('its commands run', () => {
  const bin = (name: string) => path.join(modules, 'domus', 'bin', name);
  assert.match(run(bin('xm'), 'help'), /^[\s\S]*\blist\b/);
  assert.match(run(bin('xend'), 'openapi'), /^{\n {2}"openapi": "3\.1\.0"/);
});

const PROGRAM = `
import { connect, type DomainView } from 'domus';
await using host = await connect({ temporary: true });
await using domain = await host.create({ kernel: process.argv[2]!, memoryMiB: 32, name: 'installed' });
await using terminal = await domain.console();
const { groups } = await terminal.expect(/fake kernel, domain (\\d+)/);
const view: DomainView = await domain.view();
console.log(view.name, groups[1] === String(view.domid));
`;

test('a program imports it, makes a domain and leaves nothing behind', () => {
  writeFileSync(path.join(app, 'kernel'), 'good');
  writeFileSync(path.join(app, 'package.json'), '{"type":"module"}');
  writeFileSync(path.join(app, 'program.ts'), PROGRAM);
  assert.equal(run(process.execPath, 'program.ts', path.join(app, 'kernel')), 'installed true\n');
});

test('its declarations are what a strict compiler wants', () => {
  const options = {
    strict: true,
    module: 'nodenext',
    target: 'es2024',
    noEmit: true,
    skipLibCheck: false,
    types: ['node'],
  };
  writeFileSync(path.join(app, 'tsconfig.json'), JSON.stringify({ compilerOptions: options, include: ['program.ts'] }));
  run(path.join(modules, '.bin', 'tsc'), '-p', '.', '--pretty', 'false');
});
