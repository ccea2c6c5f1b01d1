/** Pacemaker's resource agent `Xen`, unmodified, from Debian's package resource-agents: start, monitor, stop. */
import assert from 'node:assert/strict';
import path from 'node:path';
import { describe, test } from 'node:test';
import { Client } from './client.ts';
import { debianPackage } from './debian-package.ts';

const OCF_SUCCESS = 0;
const OCF_ERR_GENERIC = 1;
const OCF_ERR_INSTALLED = 5;
const OCF_NOT_RUNNING = 7;

const { folders, skip } = await debianPackage('resource-agents');

// It prefers xl; with xm alone it reads the lines of `xm list --long`.
for (const programs of [['xm', 'xl'], ['xm']])
  describe(`the resource agent Xen with ${programs.join(' and ')}`, { skip }, () => agentWith(programs));

function agentWith(programs: readonly string[]): void {
  if (!folders) return;
  const client = new Client(programs);
  const agent = (action: string, parameters: Record<string, string>, probe = false) => {
    const root = path.join(folders[0]!, 'usr/lib/ocf');
    const keys = Object.entries(parameters).map(([key, value]) => [`OCF_RESKEY_${key}`, value]);
    return client.run(path.join(root, 'resource.d/heartbeat/Xen'), [action], {
      OCF_ROOT: root,
      OCF_RESOURCE_INSTANCE: 'instance',
      OCF_RESOURCE_TYPE: 'Xen',
      HA_RSCTMP: client.home.dir,
      HA_LOGFACILITY: 'none',
      HA_logfile: path.join(client.home.dir, 'ha.log'),
      __OCF_ACTION: action,
      OCF_RESKEY_CRM_meta_interval: probe ? '0' : '10000',
      ...Object.fromEntries(keys),
    });
  };
  const parameters = { xmfile: client.config('web', 'vcpus = 1\n'), shutdown_timeout: '1' };

  test('a probe of what was never started says so', async () => {
    assert.equal((await agent('monitor', parameters, true)).status, OCF_NOT_RUNNING);
  });

  test('start makes the domain, under the name that the agent read in the file', async () => {
    const { status, stderr } = await agent('start', parameters);
    assert.equal(status, OCF_SUCCESS, stderr);
    assert.equal((await client.xm('domid', 'web')).status, 0);
    assert.equal((await agent('start', parameters)).status, OCF_SUCCESS, 'started already');
  });

  test('monitor finds it running, paused as well', async () => {
    assert.equal((await agent('monitor', parameters)).status, OCF_SUCCESS);
    await client.xm('pause', 'web');
    assert.equal((await agent('monitor', parameters)).status, OCF_SUCCESS);
    await client.xm('unpause', 'web');
  });

  test('one that has ended and is kept does not run', async () => {
    const kept = client.config('kept', 'on_poweroff = "preserve"\n');
    const args = ['create', '-q', '-c', kept];
    assert.equal((await client.run(path.join(client.bin, 'xm'), args, {}, 'poweroff\n')).status, 0);
    // xl's half of the agent asks no more than whether there is such a domain.
    const expected = programs.includes('xl') ? OCF_SUCCESS : OCF_NOT_RUNNING;
    assert.equal((await agent('monitor', { xmfile: kept }, true)).status, expected);
    await client.xm('destroy', 'kept');
  });

  test('stop asks the guest, then ends the domain', async () => {
    const { status, stderr } = await agent('stop', parameters);
    assert.equal(status, OCF_SUCCESS, stderr);
    assert.equal((await client.xm('domid', 'web')).status, 1);
    assert.equal((await agent('monitor', parameters, true)).status, OCF_NOT_RUNNING);
  });

  test('a domain that cannot start, and a file that is not there, are failures', async () => {
    const broken = client.config('broken', 'kernel = "/nope"\n');
    const { status, stderr } = await agent('start', { xmfile: broken });
    assert.equal(status, OCF_ERR_GENERIC);
    assert.match(stderr, /Error: Kernel image does not exist: \/nope/);
    assert.equal((await agent('start', { xmfile: '/nope', name: 'x' })).status, OCF_ERR_INSTALLED);
  });
}
