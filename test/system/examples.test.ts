/** The example configurations run as they are: `npm run examples`, `xend start`, then `xm create` with a name alone. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { describe, test } from 'node:test';
import { imagesDir } from '../../src/host/paths.ts';
import { realGuest, STEP_MS, System } from './harness.ts';

const root = path.resolve(import.meta.dirname, '../..');
const { guest, skip } = await realGuest();

describe('the examples', { skip }, async () => {
  if (!guest) return;
  const system = new System(guest);
  const prepare = (...args: string[]) =>
    spawnSync(process.execPath, [path.join(root, 'scripts/examples.ts'), ...args], {
      encoding: 'utf8',
      env: { ...process.env, ...system.environment },
    });

  test('xend start has put them into the new configuration folder', () => {
    assert.deepEqual(
      readdirSync(system.own.paths.etc).filter((name) => name.startsWith('xmexample')),
      readdirSync(path.join(root, 'etc/xen')).filter((name) => name.startsWith('xmexample')),
    );
  });

  test('before their files are there, xm says which one is missing', async () => {
    const { code, output } = await system.xm('create', '-q', 'xmexample1');
    assert.equal(code, 1);
    assert.match(output, /^Error: Kernel image does not exist: .*\/images\/vmlinuz \(no such file\)\n$/);
  });

  test('npm run examples makes kernel, initramfs and disks; what is there stays', () => {
    const { status, stdout, stderr } = prepare('--disks', '1');
    assert.equal(status, 0, stderr);
    assert.match(stdout, /making .*example1\.img\n[\s\S]*\nready: /);
    assert.ok(existsSync(path.join(imagesDir(system.own.paths), 'vm1.img')));
    assert.doesNotMatch(prepare('--disks', '1').stdout, /making/);
    assert.equal(prepare('--disks', 'many').status, 1);
  });

  test('xmexample1, and xmexample2 with vmid=1, boot to their login prompts side by side', async () => {
    const one = system.person('create', '-c', 'xmexample1');
    const two = system.person('create', '-c', 'xmexample2', 'vmid=1');
    await Promise.all([one.login(), two.login()]);
    assert.match(
      one.text,
      /^Using config file ".*\/xmexample1"\.\nStarted domain ExampleDomain, console on port \d+\n/,
    );
    assert.match(await two.run('cat /proc/cmdline'), / root=\/dev\/sda1 ro 4 VMID=1 usr=\/dev\/sda6\n/);
    assert.match(await two.run('mount -o ro /dev/xvda6 /mnt && cat /mnt/etc/hostname'), /^ttylinux\n$/m);
    assert.equal((await system.row('VM1'))?.[2], '96');
    for (const person of [one, two]) person.send('poweroff\n');
    assert.deepEqual(await Promise.all([one.exitCode(STEP_MS), two.exitCode(STEP_MS)]), [0, 0]);
  });
});
