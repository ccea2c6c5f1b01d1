/** Commands and files in a real guest, through its agent; and the size of a terminal at its console. */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { readdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, test } from 'node:test';
import { guestDisk } from '../../src/devices/blk/vdev.ts';
import { type Made, type Person, realGuest, System } from './harness.ts';

const XVDZ = guestDisk('xvdz')!.vdev;
const md5 = (bytes: Uint8Array) => createHash('md5').update(bytes).digest('hex');

const { guest, skip } = await realGuest();

describe('a domain with its agent', { skip }, async () => {
  if (!guest) return;
  const system = new System(guest);
  const file = (name: string) => path.join(system.own.folder, name);
  let web: Made;
  let console_: Person;
  const exec = (...words: string[]) => system.xm('exec', 'web', '--', ...words);
  const bulkDiskIsThere = () =>
    system.store(async (store) => {
      const [domid] = (await store.list('/local/domain'))!.filter((one) => one !== '0');
      return (await store.read(`/local/domain/${domid}/device/vbd/${XVDZ}`)) !== undefined;
    });

  test('xm exec --wait runs a command as soon as the guest has booted', async () => {
    web = await system.write('web');
    assert.equal((await system.xm('create', '-q', web.config)).code, 0);
    const early = await exec('true');
    assert.deepEqual([early.code, early.output.split('\n').length], [1, 2]);
    assert.match(early.output, /^Error: exec: there is no agent in the guest/);
    const { code, output } = await system.xm('exec', '--wait', '240', 'web', 'uname', '-r');
    assert.deepEqual([code, output], [0, `${guest.release}\n`]);
  });

  test('exit codes, signals, variables, folders and time limits', async () => {
    assert.equal((await exec('sh', '-c', 'exit 7')).code, 7);
    assert.equal((await exec('sh', '-c', 'kill -9 $$')).code, 137);
    const nothing = await exec('no-such-command');
    assert.deepEqual([nothing.code, nothing.output], [127, 'no-such-command: not found\n']);
    const { output } = await system.xm('exec', '-e', 'A=1 2', '-w', '/etc', 'web', 'sh', '-c', 'echo "$A" $PWD $HOME');
    assert.equal(output, '1 2 /etc /root\n');
    assert.equal((await system.xm('exec', '--timeout', '0.5', 'web', 'sleep', '1000')).code, 124);
    assert.equal((await exec('pidof', 'sleep')).code, 1, 'nothing is left of it');
  });

  test('a time limit holds for a guest that is paused as well', async () => {
    assert.equal((await system.xm('pause', 'web')).code, 0);
    assert.equal((await system.xm('exec', '--timeout', '0.2', 'web', 'true')).code, 124);
    assert.equal((await system.xm('unpause', 'web')).code, 0);
    assert.equal((await exec('true')).code, 0);
  });

  test('files go in and come out, folders with what is in them', async () => {
    const bytes = randomBytes(100_000);
    writeFileSync(file('bytes'), bytes, { mode: 0o750 });
    assert.deepEqual(await system.xm('cp', file('bytes'), 'web:/root/copy'), { code: 0, output: '' });
    assert.match((await exec('ls', '-l', '/root/copy')).output, /^-rwxr-x--- .* 100000 /);
    assert.equal(
      (await exec('sh', '-c', 'mkdir /root/dir && mv /root/copy /root/dir && ln -s copy /root/dir/link')).code,
      0,
    );
    assert.deepEqual(await system.xm('cp', 'web:/root/dir', file('dir')), { code: 0, output: '' });
    assert.deepEqual(readFileSync(file('dir/link')), bytes);
    const missing = await system.xm('cp', 'web:/nope', file('x'));
    assert.deepEqual([missing.code, missing.output], [1, 'Error: cp: in the guest: /nope: no such file\n']);
  });

  test('much goes in and out by a disk that is there only meanwhile, also without a xend', async () => {
    const bytes = randomBytes(12 << 20);
    writeFileSync(file('much'), bytes);
    assert.deepEqual(await system.xm('cp', file('much'), 'web:/root/much'), { code: 0, output: '' });
    assert.equal((await exec('sh', '-c', 'md5sum </root/much | cut -c -32')).output, `${md5(bytes)}\n`);
    const copy = system.person('cp', 'web:/root/much', file('back'));
    const isWritten = (name: string) => name.startsWith('back.') && name.endsWith('.part');
    await system.eventually(() => readdirSync(file('.')).some(isWritten), 'a part of the copy');
    assert.ok(await bulkDiskIsThere());
    await system.kill(system.xendProcess);
    assert.equal(await copy.exitCode(), 0, copy.text);
    assert.deepEqual(readFileSync(file('back')), bytes);
    await system.own.start();
    await system.eventually(async () => !(await bulkDiskIsThere()), 'nothing left of it in the store');
    assert.doesNotMatch((await exec('dmesg')).output, /I\/O error/);
  });

  test('a client that is killed in the middle of a copy leaves nothing, here or there', async () => {
    // Far more than is on its way at any moment: it is not all sent when the disk is there.
    writeFileSync(file('long'), '');
    truncateSync(file('long'), 40 << 20);
    const copy = system.person('cp', file('long'), 'web:/root/other');
    await system.eventually(bulkDiskIsThere, 'the copy has begun');
    copy.child.kill('SIGKILL');
    await system.eventually(async () => !(await bulkDiskIsThere()), 'no disk');
    await system.eventually(async () => !(await exec('ls', '-A', '/root')).output.includes('.copy'), 'no draft');
    assert.doesNotMatch((await exec('cat', '/proc/partitions')).output, /xvdz/);
    assert.equal((await exec('ls', '/root/other')).code, 1);
    assert.equal((await exec('rm', '/root/much')).code, 0);
  });

  test('a copy that is interrupted leaves nothing, here or there, and has the exit code of that', async () => {
    const before = readdirSync(file('.'));
    assert.equal((await exec('truncate', '-s', '1G', '/root/endless')).code, 0);
    for (const [from, to] of [
      [file('long'), 'web:/root/other'],
      ['web:/root/endless', file('endless')],
    ] as const) {
      const copy = system.person('cp', from, to);
      await system.eventually(bulkDiskIsThere, 'the copy has begun');
      copy.child.kill('SIGINT');
      assert.deepEqual([await copy.exitCode(), copy.text], [130, '']);
      await system.eventually(async () => !(await bulkDiskIsThere()), 'no disk');
    }
    assert.deepEqual(readdirSync(file('.')), before);
    await system.eventually(async () => !(await exec('ls', '-A', '/root')).output.includes('.copy'), 'no draft');
    assert.equal((await exec('ls', '/root/other')).code, 1);
  });

  test("the guest's terminal has the size of the one that types at its console", async () => {
    console_ = system.personOnTerminal('console web', { columns: 133, rows: 51 });
    await system.eventually(
      async () => (await exec('sh', '-c', 'stty size </dev/hvc0')).output === '51 133\n',
      'the size of the terminal',
    );
    console_.send('\x1d');
    await console_.exitCode();
  });

  test('a shell on a terminal of its own', async () => {
    const person = system.personOnTerminal('exec -it web sh', { columns: 99, rows: 33 });
    await person.expect('# ');
    person.send('stty size; tty\n');
    await person.expect('33 99');
    await person.expect('/dev/pts/');
    person.send('exit 4\n');
    assert.equal(await person.exitCode(), 4);
  });

  test('the agent is there again after it was killed, and after a reboot', async () => {
    await exec('killall', '-9', 'domus-agent');
    assert.equal((await system.xm('exec', '--wait', '60', 'web', 'true')).code, 0);
    assert.equal((await system.xm('reboot', 'web')).code, 0);
    await system.eventually(async () => (await exec('true')).code === 1, 'the guest is going down');
    const { output } = await system.xm('exec', '--wait', '240', 'web', 'cut', '-d.', '-f1', '/proc/uptime');
    assert.ok(Number(output) < 240);
    assert.equal((await system.xm('destroy', 'web')).code, 0);
  });
});
