/** How domains end, and what others notice of it: poweroff, reboot, panic, a killed monitor; two domains beside each other. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { BOOT_MS, type Made, NOTHING, type Person, realGuest, System } from './harness.ts';

const { guest, skip } = await realGuest();

describe('two domains and how they end', { skip }, async () => {
  if (!guest) return;
  const system = new System(guest);
  let alpha: Made;
  let beta: Made;
  let atAlpha: Person;
  let atBeta: Person;

  test('two domains boot beside each other, each with its own disk and console', async () => {
    alpha = await system.write('alpha', { more: 'on_crash = "preserve"' });
    beta = await system.write('beta');
    [atAlpha, atBeta] = [system.create(alpha), system.create(beta)];
    await Promise.all([atAlpha.login(), atBeta.login()]);
    await Promise.all([
      atAlpha.run('echo alpha >/proc/sys/kernel/hostname'),
      atBeta.run('echo beta >/root/note; sync'),
    ]);
    assert.equal(await atAlpha.run('cat /root/note'), "cat: can't open '/root/note': No such file or directory\n");
    const { output } = await system.xm('list');
    assert.deepEqual(output.match(/^\S+/gm), ['Name', 'Domain-0', 'alpha', 'beta']);
  });

  test('a disk that a domain writes to is refused to another; nothing is left of the attempt', async () => {
    const before = await system.traces();
    const { code, output } = await system.xm('create', '-q', beta.config, 'name=rival');
    assert.equal(code, 1);
    assert.match(output, /^Error: .*file:\S+beta\.img is in writable use by domain beta \(id \d+\)\n$/);
    assert.deepEqual(await system.traces(), before);
  });

  test('a kernel panic ends the domain with one line at its console and a full report in xm dmesg', async () => {
    atBeta.send('echo c >/proc/sysrq-trigger\n');
    assert.equal(await atBeta.exitCode(), 1);
    const id = /Error: domain (\d+) "beta" crashed: the guest reported a crash.* \(xm dmesg tells more\)\n$/.exec(
      atBeta.text,
    )?.[1];
    assert.ok(id, atBeta.text.slice(-300));
    assert.match(atBeta.text, /Kernel panic - not syncing: sysrq triggered crash/);
    const { output } = await system.xm('dmesg');
    const report = output.split('\n').flatMap((line) => line.split(`] d${id} `)[1] ?? []);
    for (const part of [
      /^"beta" crashed: the guest reported a crash/,
      /^vCPU 0 in guest kernel mode, rip ffffffff[0-9a-f]{8}, cr2 [0-9a-f]{16}/,
      /^rax [0-9a-f]{16} {2}rcx/,
      /^code at rip: ([0-9a-f]{2} ){31}/,
      /^stack: /,
      /^ {2}hypercall sched_op\(0x2\)/,
      /^ {2}\| .*Kernel panic - not syncing: sysrq triggered crash/,
    ]) {
      assert.ok(
        report.some((line) => part.test(line)),
        `${part} in:\n${report.join('\n')}`,
      );
    }
    assert.equal(await system.row('beta'), undefined);
  });

  test('poweroff typed in the guest ends the domain; what the crashed one had synced is kept', async () => {
    const again = system.create(beta);
    const [rebooting] = await Promise.all([
      // Meanwhile the other one reboots: same domain, same console.
      (async () => {
        const before = (await system.row('alpha'))!;
        atAlpha.send('reboot\n');
        await atAlpha.expect('Linux version', BOOT_MS);
        await atAlpha.login();
        return [before, (await system.row('alpha'))!];
      })(),
      again.login(),
    ]);
    assert.deepEqual(rebooting[0]!.slice(0, 3), rebooting[1]!.slice(0, 3), 'name, id and memory stay');
    assert.equal(await atAlpha.run('cat /proc/sys/kernel/hostname'), 'ttylinux\n');
    assert.equal(await again.run('cat /root/note'), 'beta\n');
    again.send('poweroff\n');
    assert.equal(await again.exitCode(), 0);
    assert.equal(await system.row('beta'), undefined);
  });

  test('a monitor that is killed takes its domain with it: said to all, disk free again', async () => {
    const once = system.create(beta);
    await once.expect('Linux version', BOOT_MS);
    await system.kill(await system.monitorOf('beta'));
    assert.equal(await once.exitCode(), 1);
    assert.match(once.text, /Error: domain \d+ "beta" crashed: its monitor process ended unexpectedly.*\n$/);
    assert.match((await system.xm('dmesg')).output, /"beta": its monitor process ended unexpectedly/);
    assert.equal(await system.row('beta'), undefined);
    const again = await system.xm('create', '-p', beta.config);
    assert.deepEqual([again.code, (await system.row('beta'))?.[4]], [0, '--p--'], again.output);
    assert.equal((await system.xm('destroy', 'beta')).code, 0);
  });

  test('on_crash = preserve keeps a crashed domain to be looked at, until it is destroyed', async () => {
    atAlpha.send('echo c >/proc/sysrq-trigger\n');
    assert.equal(await atAlpha.exitCode(), 1);
    assert.equal((await system.row('alpha'))?.[4], '----c');
    const later = system.person('console', 'alpha');
    await later.expect('Kernel panic');
    await later.exitCode();
    assert.equal((await system.xm('destroy', 'alpha')).code, 0);
    assert.deepEqual(await system.traces(), NOTHING);
  });
});
