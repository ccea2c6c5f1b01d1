/** What is done to a domain while it runs: disks, keys, shares of the CPU, a core file. One real guest for all of it. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync, rmSync } from 'node:fs';
import path from 'node:path';
import { describe, test } from 'node:test';
import type { ProcessIdentity } from '../../src/host/process-identity.ts';
import { type Made, type Person, realGuest, System } from './harness.ts';

const { guest, skip } = await realGuest();
const NO_GDB = spawnSync('gdb', ['--version']).status === 0 ? false : 'there is no gdb here';

describe('a domain that runs', { skip }, async () => {
  if (!guest) return;
  const system = new System(guest);
  let made: Made;
  let person: Person;
  let monitor: ProcessIdentity;

  test('it boots', async () => {
    made = await system.write('runner');
    person = system.create(made);
    await person.login();
    monitor = await system.monitorOf('runner');
  });

  test('a disk is attached, used and detached; what was written is in its file', async () => {
    const disk = system.disk('data.img');
    const done = await system.xm('block-attach', 'runner', `file:${disk},sdb,w`);
    assert.deepEqual(done, { code: 0, output: '' });
    await system.eventually(async () => /xvdb/.test(await person.run('cat /proc/partitions')), 'xvdb in the guest');
    await person.run('echo hot plugged | dd of=/dev/xvdb conv=sync bs=512 2>/dev/null; sync');
    assert.match((await system.xm('block-list', 'runner')).output, /^51728 +0 +1 +4 +\d+ +\d+ .*\/vbd\/\d+\/51728/m);
    assert.match(
      (await system.xm('vbd-list', 'runner')).output,
      /^\(vbd \(idx 1\) \(vdev 2064\) \(mode w\) \(dev sdb\)/m,
    );
    assert.deepEqual(await system.xm('block-detach', 'runner', 'sdb'), { code: 0, output: '' });
    assert.doesNotMatch(await person.run('cat /proc/partitions'), /xvdb/);
    assert.equal(readFileSync(disk, 'latin1').slice(0, 12), 'hot plugged\n');
  });

  test('a disk that may only be read cannot be written; the root disk is not taken without -f', async () => {
    const disk = system.disk('read.img');
    assert.equal((await system.xm('vbd-create', 'runner', `file:${disk}`, 'xvdc', 'r')).code, 0);
    await system.eventually(async () => /xvdc/.test(await person.run('cat /proc/partitions')), 'xvdc in the guest');
    assert.equal(await person.run('cat /sys/block/xvdc/ro'), '1\n');
    const { code, output } = await system.xm('block-detach', 'runner', 'sda1');
    assert.deepEqual(
      [code, output],
      [
        1,
        'Error: vbd: xvda1 could not be disconnected: the root file system is on it (-f takes it away all the same)\n',
      ],
    );
    assert.equal((await system.xm('vbd-destroy', 'runner', '1')).code, 0);
  });

  test('after a pause the guest’s clock is as right as before, and it complains of nothing', async () => {
    const behind = async () => Date.now() / 1000 - Number(await person.run('date +%s'));
    const before = await behind();
    assert.equal((await system.xm('pause', 'runner')).code, 0);
    await new Promise((resolve) => setTimeout(resolve, 2500)); // The pause itself is what is tested.
    assert.equal((await system.xm('unpause', 'runner')).code, 0);
    const after = await behind();
    assert.ok(Math.abs(after - before) < 2, `it was ${before} s behind, and is ${after} s behind`);
    assert.doesNotMatch(await person.run('dmesg | tail -20'), /lockup|stall|clocksource/i);
  });

  test('SysRq keys and NMIs reach the kernel', async () => {
    assert.equal((await system.xm('sysrq', 'runner', 'h')).code, 0);
    await person.expect(/sysrq: HELP : .*\n/); // Printed whatever else may be.
    assert.equal((await system.xm('trigger', 'runner', 'nmi')).code, 0);
    await system.eventually(async () => /NMI/.test(await person.run('dmesg | tail -5')), 'the NMI in the log');
  });

  test('a core of it is opened by gdb, which finds memory and registers', { skip: NO_GDB }, async () => {
    const banner = /^([0-9a-f]{16}) \w linux_banner$/m.exec(
      await person.run('grep -w linux_banner /proc/kallsyms'),
    )?.[1];
    const core = path.join(system.own.folder, 'runner.core');
    const { code, output } = await system.xm('dump-core', 'runner', core);
    assert.deepEqual([code, output], [0, '']);
    const commands = ['info registers rip', `x/s 0x${banner}`].flatMap((one) => ['-ex', one]);
    const gdb = spawnSync('gdb', ['-nx', '-batch', '-c', core, ...commands], { encoding: 'utf8' });
    assert.match(gdb.stdout, /^rip +0xffffffff[0-9a-f]{8}/m, gdb.stderr);
    assert.match(gdb.stdout, /"Linux version \d+\.\d+/);
    rmSync(core);
    assert.equal(await person.run('echo still $((40+2))'), 'still 42\n');
  });

  test('a domain that computes stays below its cap, and says where it runs', async () => {
    assert.equal((await system.xm('sched-credit', '-d', 'runner', '-c', '20')).code, 0);
    await person.run('(while :; do :; done) & true');
    // What compiling the loop takes comes first and is paid back then.
    const share = shareSince(monitor.pid);
    await new Promise((resolve) => setTimeout(resolve, 2000)); // A share is CPU time in some time.
    await system.eventually(() => share() < 0.21, 'a share below the cap');
    assert.equal((await system.xm('vcpu-pin', 'runner', '0', '0')).code, 0);
    assert.match((await system.xm('vcpu-list', 'runner')).output, /^runner +\d+ +0 +0 +[rb-]{3} +\d+\.\d 0$/m);
    const allowed = readdirSync(`/proc/${monitor.pid}/task`).map((task) => cpusOf(monitor.pid, task));
    assert.ok(allowed.includes('0'), `a thread of CPU 0 alone among ${allowed.join(' ')}`);
    assert.match((await system.xm('sched-credit')).output, /^runner +\d+ +256 +20$/m);
    assert.equal((await system.xm('sched-credit', '-d', 'runner', '-c', '0')).code, 0);
  });

  test('xm top fills a terminal, no wider than it is, sorts by the key s and goes with q', async () => {
    const top = system.personOnTerminal('top -d 1', { columns: 70, rows: 12 });
    const screen = await top.expect(/\n +runner +\S+ +\d+ /);
    assert.match(screen, /xentop - \d\d:\d\d:\d\d {3}sorted by NAME/);
    assert.match(screen, /2 domains: \d running, \d blocked/);
    assert.ok(screen.split('\n').every((row) => row.length <= 70));
    top.send('s');
    await top.expect('sorted by CPU(sec)');
    top.send('q');
    assert.equal(await top.exitCode(), 0);
  });

  test('a domain that takes no notice of a shutdown is destroyed when that was wanted, and only then', async () => {
    await person.run('killall -q init; true');
    assert.equal((await system.xm('pause', 'runner')).code, 0);
    const asked = await system.xm('shutdown', '--timeout=1', 'runner');
    assert.deepEqual([asked.code, (await system.row('runner'))?.[4]], [1, '--p--'], asked.output);
    const forced = await system.xm('shutdown', '--timeout=1', '-F', 'runner');
    assert.equal(forced.code, 0, forced.output);
    assert.equal(await system.row('runner'), undefined);
  });
});

/** The share of a CPU that a process has used since now. */
function shareSince(pid: number): () => number {
  const [cpu, from] = [cpuSeconds(pid), performance.now()];
  return () => (cpuSeconds(pid) - cpu) / ((performance.now() - from) / 1000);
}

/** CPU seconds of all threads of a process: proc(5), fields 14 and 15 in ticks of 10 ms. */
function cpuSeconds(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

function cpusOf(pid: number, task: string): string | undefined {
  return /^Cpus_allowed_list:\s*(.*)$/m.exec(readFileSync(`/proc/${pid}/task/${task}/status`, 'latin1'))?.[1];
}
