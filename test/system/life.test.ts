/** A domain's life as its owner sees it: the real kernel and disk, from `xm create -c` to the last command typed. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, test } from 'node:test';
import { promisify } from 'node:util';
import { debianPackage, pathsIn, XENSTORE_TOOLS } from '../clients/debian-package.ts';
import { type Made, NOTHING, type Person, realGuest, System } from './harness.ts';

/** What a disk called sda1 becomes. */
const XVDA1 = (202 << 8) | 1;

const { guest, skip } = await realGuest();

describe('a domain from create to shutdown', { skip }, async () => {
  if (!guest) return;
  const system = new System(guest);
  let web: Made;
  let console_: Person;

  test('xm create -c boots to a login prompt, root logs in', async () => {
    web = await system.write('web');
    console_ = system.create(web);
    await console_.login();
    assert.match(console_.text, /^Using config file ".*web\.cfg"\.\nStarted domain web, console on port \d+\n/);
  });

  test('the guest knows what it is: a Linux under Xen, on its own disk', async () => {
    assert.match(
      await console_.run('uname -a'),
      new RegExp(`^Linux ttylinux ${guest.release} .* x86_64 GNU/Linux$`, 'm'),
    );
    assert.match(await console_.run('df /'), /^\/dev\/xvda1 .* \/$/m);
    assert.equal(await console_.run('cat /sys/hypervisor/type /sys/hypervisor/uuid | wc -l'), '2\n');
    assert.equal(await console_.run('cat /sys/hypervisor/type'), 'xen\n');
    const { output } = await system.xm('list', '--json', 'web');
    const [{ uuid }] = JSON.parse(output) as [{ uuid: string }];
    assert.equal(await console_.run('cat /sys/hypervisor/uuid'), `${uuid}\n`);
  });

  test('xm list shows an idle domain as blocked, a busy one as running, and the time it used', async () => {
    await system.eventually(async () => (await system.row('web'))?.[4] === '-b---', 'an idle domain is blocked');
    const idle = (await system.row('web'))!;
    assert.deepEqual([idle[0], idle[2]], ['web', '96']);
    console_.send('while :; do :; done\n');
    await system.eventually(async () => (await system.row('web'))?.[4] === 'r----', 'a busy domain is running');
    await system.eventually(async () => Number((await system.row('web'))?.[5]) > Number(idle[5]), 'time is used');
    await console_.interrupt();
  });

  test('a paused domain stands still; unpaused it goes on where it was', async () => {
    console_.send('while sleep 0.1; do echo tick; done\n');
    await console_.expect('tick\ntick\n');
    assert.equal((await system.xm('pause', 'web')).code, 0);
    assert.equal((await system.row('web'))![4], '--p--');
    // What was printed before is on its way still.
    await system.eventually(() => console_.silentFor(1000), 'nothing comes from a paused domain');
    assert.equal((await system.xm('unpause', 'web')).code, 0);
    await console_.expect('tick\ntick\n');
    await console_.interrupt();
  });

  test('leaving the console leaves the domain; who comes later sees what was printed before', async () => {
    console_.leave();
    await console_.exitCode();
    const later = system.person('console', 'web');
    await later.expect('Linux version');
    await later.expect('ttylinux login: ');
    await later.expect('tick');
    const both = system.person('console', 'web');
    await both.expect('tick');
    await Promise.all([later.run('echo seen by $((1 + 1))'), both.expect('seen by 2')]);
    both.leave();
    console_ = later;
    assert.match(readFileSync(system.log('console', 'web'), 'utf8'), /Linux version[\s\S]*seen by 2/);
  });

  test('on a terminal, Ctrl-] leaves the console', async () => {
    const person = system.personOnTerminal('console web');
    await person.expect('REMOTE CONSOLE: CTRL-] TO QUIT');
    await person.expect('seen by 2');
    person.send('\x1d');
    await person.expect('REMOTE CONSOLE EXITED');
    assert.equal(await person.exitCode(), 0);
    assert.equal((await system.row('web'))?.[0], 'web');
  });

  test('the store tells about the domain, also to xenstore-ls', async () => {
    const { output } = await system.xm('domid', 'web');
    const home = `/local/domain/${output.trim()}`;
    await system.store(async (store) => {
      assert.equal(await store.read(`${home}/name`), 'web');
      assert.equal(await store.read(`${home}/device/vbd/${XVDA1}/state`), '4', 'the disk is connected');
    });
    // Where a guest can be had for this test, so can the tools.
    const { folders } = await debianPackage(...XENSTORE_TOOLS);
    const env = { ...pathsIn(folders!), XENSTORED_RUNDIR: path.join(system.own.paths.run, 'xenstored') };
    const shown = await promisify(execFile)('xenstore-ls', ['-f', home], { env });
    assert.match(shown.stdout, new RegExp(`^${home}/name = "web"$`, 'm'));
    assert.match(shown.stdout, new RegExp(`^${home}/device/vbd/${XVDA1}/state = "4"$`, 'm'));
  });

  test('kill -9 of xend: the domain runs on, a new xend lists it and its console works', async () => {
    const before = (await system.row('web'))!;
    await system.kill(system.xendProcess);
    const refused = await system.xm('domid', 'web');
    assert.equal(refused.code, 1);
    assert.match(refused.output, /^Error: Error connecting to xend, is xend running\? .*\n$/);
    assert.match(await console_.run('echo alive without xend'), /alive without xend/);
    await system.own.start();
    assert.deepEqual((await system.row('web'))!.slice(0, 3), before.slice(0, 3));
    const later = system.person('console', 'web');
    await later.expect('alive without xend');
    later.leave();
    await system.store(async (store) => {
      assert.equal(await store.read(`/local/domain/${before[1]}/name`), 'web');
    });
  });

  test('xm shutdown -w, asked of a xend that came after the domain, ends it in good order', async () => {
    assert.equal(await console_.run('echo kept >/root/note && cat /root/note'), 'kept\n');
    const { code, output } = await system.xm('shutdown', '-w', 'web');
    assert.deepEqual([code, output], [0, 'Domain web terminated\nAll domains terminated\n']);
    assert.equal(await console_.exitCode(), 0);
    assert.match(console_.text, /Sent SIGTERM to all processes/);
    assert.deepEqual(await system.traces(), NOTHING);
  });

  test('what was written is there when the domain is created again', async () => {
    const again = system.create(web);
    await again.login();
    assert.equal(await again.run('cat /root/note'), 'kept\n');
    assert.doesNotMatch(await again.run('dmesg | grep xvda1'), /recovery/, 'the file system was unmounted before');
    assert.equal((await system.xm('destroy', 'web')).code, 0);
    assert.equal(await again.exitCode(), 0);
    assert.deepEqual(await system.traces(), NOTHING);
  });
});
