/**
 * Ganeti's Xen hypervisor module, unmodified, from Debian's package ganeti-3.0, in the machine's Python: what it writes for
 * an instance, what it reads of `xl list` and `xl info`. Libraries that the module imports and these calls do not need are
 * stood in for.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import path from 'node:path';
import { describe, test } from 'node:test';
import { Client } from './client.ts';
import { debianPackage } from './debian-package.ts';

/** Ganeti's HvInstanceState. */
const RUNNING = 0;

/** Ganeti's half: runs the calls named in the argument, prints their results as JSON. */
const DRIVER = `
import importlib.abc, importlib.machinery, json, sys
from types import SimpleNamespace
from unittest.mock import MagicMock

class StandIn(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    NAMES = {'OpenSSL', 'bitarray', 'simplejson', 'psutil', 'pycurl', 'pyinotify', 'paramiko', 'pyparsing'}
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in self.NAMES:
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
    def create_module(self, spec):
        module = MagicMock(name=spec.name)
        module.__path__, module.__spec__, module.__name__ = [], spec, spec.name
        module.version_info = (9, 9, 9)
        return module
    def exec_module(self, module):
        pass

package, folder, kernel, disk = sys.argv[1:5]
sys.path.insert(0, package)
sys.meta_path.append(StandIn())
from ganeti import constants, errors
from ganeti.hypervisor import hv_xen

xen = hv_xen.XenPvmHypervisor(_cfgdir=folder, _cmd='xl')
hvparams = {name: None for name in xen.PARAMETERS}
hvparams.update({'xen_cmd': 'xl', 'kernel_path': kernel, 'initrd_path': '', 'root_path': '/dev/xvda1', 'kernel_args': 'ro',
                 'reboot_behavior': 'reboot', 'cpu_mask': 'all', 'blockdev_prefix': 'xvd'})
instance = SimpleNamespace(name='inst1.example.com', nics=[], hvparams=hvparams,
                           beparams={'maxmem': 32, 'minmem': 32, 'vcpus': 1})
disks = [(SimpleNamespace(mode='rw', dev_type='file', logical_id=['loop']), disk, None)]

def call(name, *args):
    try:
        return {'returns': getattr(xen, name)(*args)}
    except errors.HypervisorError as error:
        return {'raises': str(error)}

CALLS = {
    'verify': lambda: call('Verify', hvparams),
    'node': lambda: call('GetNodeInfo', hvparams),
    'start': lambda: call('StartInstance', instance, disks, False),
    'list': lambda: call('ListInstances', hvparams),
    'info': lambda: call('GetInstanceInfo', instance.name, hvparams),
    'all': lambda: call('GetAllInstancesInfo', hvparams),
    'rename': lambda: xen._RenameInstance(instance.name, 'other', hvparams).exit_code,
    'stop': lambda: call('StopInstance', instance, False, False, None, 1),
}
print(json.dumps({name: CALLS[name]() for name in sys.argv[5:]}, default=str))
`;

const { folders, skip: noPackage } = await debianPackage('ganeti-3.0');
const python = spawnSync('python3', ['-c', 'import unittest.mock'], { stdio: 'ignore' }).status === 0;
const skip = noPackage || (python ? false : 'there is no python3 here');

describe('the Xen module of Ganeti', { skip }, () => {
  if (!folders) return;
  const client = new Client();
  const ganeti = async (...calls: string[]) => {
    const source = path.join(folders[0]!, 'usr/share/ganeti/3.0');
    const files = [path.join(client.home.dir, 'etc'), client.home.kernel, client.home.disk];
    const { status, stdout, stderr } = await client.run('python3', ['-', source, ...files, ...calls], {}, DRIVER);
    assert.equal(status, 0, stderr);
    return JSON.parse(stdout);
  };
  client.file('etc/.keep', '');
  const NAME = 'inst1.example.com';

  test('it finds the toolstack and reads what the machine has', async () => {
    const { verify, node } = await ganeti('verify', 'node');
    assert.deepEqual(verify, { returns: null });
    const { cpu_total, cpu_nodes, cpu_sockets, memory_total, memory_free, memory_dom0, cpu_dom0, hv_version } =
      node.returns;
    assert.deepEqual([cpu_nodes, cpu_sockets, hv_version], [1, 1, [4, 17]]);
    assert.ok(cpu_total >= 1 && cpu_dom0 === cpu_total);
    assert.ok(memory_total >= memory_free && memory_total >= memory_dom0 && memory_free > 0);
  });

  test('it starts an instance by the file that it writes, and finds it in the list', async () => {
    const { start, list, info } = await ganeti('start', 'list', 'info');
    assert.deepEqual(start, { returns: null });
    assert.deepEqual(list, { returns: [NAME] });
    const [name, id, memory, vcpus, state] = info.returns;
    assert.deepEqual([name, memory, vcpus], [NAME, 32, 1]);
    assert.ok(id > 0);
    assert.equal(state, RUNNING);
  });

  test('a domain that has ended and is kept is read as shut down, a crashed one is left out', async () => {
    const ended = client.config('ended', 'on_poweroff = "preserve"\n');
    const crashed = client.config('crashed', 'on_crash = "preserve"\n');
    for (const [config, word] of [
      [ended, 'poweroff'],
      [crashed, 'crash'],
    ] as const) {
      const { status, stderr } = await client.run(
        path.join(client.bin, 'xm'),
        ['create', '-q', '-c', config],
        {},
        `${word}\n`,
      );
      assert.equal(status, word === 'crash' ? 1 : 0, stderr);
    }
    const { all, list } = await ganeti('all', 'list');
    assert.deepEqual(all.returns.map((row: unknown[]) => row[0]).sort(), ['ended', NAME]);
    assert.deepEqual(list, { returns: [NAME] });
  });

  test('it renames the instance, asks it to shut down for a second, then destroys it', async () => {
    assert.deepEqual(await ganeti('rename'), { rename: 0 });
    assert.equal((await client.xm('rename', 'other', NAME)).status, 0);
    const { stop, list } = await ganeti('stop', 'list');
    assert.deepEqual(stop, { returns: null });
    assert.deepEqual(list, { returns: [] });
  });
});
