/**
 * What monitoring programs read: Munin's plugins (which no Debian package has: here are their rules of reading), xentop's
 * batch tables as OpenNebula and Munin take them, and the one-liners of people's scripts, in a shell.
 */
import assert from 'node:assert/strict';
import path from 'node:path';
import { before, describe, test } from 'node:test';
import { Client } from './client.ts';

describe('monitoring', () => {
  const client = new Client();
  const lines = (text: string) => text.split('\n').filter((one) => one !== '');
  const shell = async (command: string) => lines((await client.run('sh', ['-c', command])).stdout);

  before(async () => {
    for (const name of ['web-1', 'mail']) await client.xm('create', '-q', client.config(name));
  });

  test('xen (2006): seven words a row of xm list, the name first and the time sixth', async () => {
    const rows = (await shell("xm list | grep -v '^Name'")).map((row) => row.split(/\s+/));
    assert.deepEqual(
      rows.map(([name]) => name),
      ['Domain-0', 'mail', 'web-1'],
    );
    for (const [, domid, memory, cpu, state, time] of rows) {
      for (const number of [domid, memory, cpu, time]) assert.match(number!, /^\d+(\.\d+)?$/);
      assert.match(state!, /^[rbpsc-]{5}$/);
    }
  });

  test('xen_cpu_v2: name, three words of which the third is a number, a word, the time; nr_cpus behind a colon', async () => {
    const rows = await shell('xm list | tail -n +2');
    for (const row of rows) assert.match(row, /(\S+)\s+\S+\s+\S+\s+\d+\s+\S+\s+(\S+)/);
    const [cpus] = await shell('xm info | grep nr_cpus | cut -d : -f 2');
    assert.ok(Number(cpus) >= 1);
  });

  test('xen_memory and one-liners: NAME : VALUE of xm info', async () => {
    const memory = await shell(
      'xm info | while read -r name colon value; do [ "$colon" = : ] && echo "$name=$value"; done',
    );
    for (const key of ['total_memory', 'free_memory', 'xen_major'])
      assert.ok(
        memory.some((one) => new RegExp(`^${key}=\\d+$`).test(one)),
        key,
      );
    assert.match((await shell('xm info | grep ^free_memory | cut -d: -f2'))[0]!, /^ \d+$/);
    assert.match((await shell("xl info | awk '/^total_memory/ { print $3 }'"))[0]!, /^\d+$/);
  });

  test('guests by the usual one-liners', async () => {
    assert.deepEqual(await shell(`xm list | awk '{print $1}' | egrep -v "Name|Domain-0"`), ['mail', 'web-1']);
    assert.equal((await shell('xm list | tail -n +3 | wc -l'))[0]!.trim(), '2');
    assert.equal((await shell('xl list | grep -- "-b" | wc -l'))[0]!.trim(), '2');
    assert.deepEqual(await shell("xl list | awk 'NR > 1 { print NF }' | sort -u"), ['6']);
  });

  test('xentop -b -i2: OpenNebula takes the last table, Munin counts the columns from its rows', async () => {
    const { stdout, status } = await client.run(path.join(client.bin, 'xentop'), ['-bi2', '-d0.2']);
    assert.equal(status, 0);
    const tables = stdout.split(/^.*NAME {2}STATE.*\n/m);
    assert.equal(tables.length, 3);
    const rows = lines(tables.at(-1)!).map((row) => row.trim().split(/\s+/));
    assert.deepEqual(
      rows.map(([name]) => name),
      ['Domain-0', 'mail', 'web-1'],
    );
    // "no limit" is two words.
    assert.deepEqual(
      rows.map((row) => row.length),
      [20, 19, 19],
    );
    const [, state, cpuS, cpuPercent, memoryKiB, memoryPercent] = rows[1]!;
    assert.match(state!, /^[dsbcpr-]{6}$/);
    assert.equal(memoryKiB, '32768');
    for (const number of [cpuS, cpuPercent, memoryPercent]) assert.match(number!, /^\d+(\.\d)?$/);
  });
});
