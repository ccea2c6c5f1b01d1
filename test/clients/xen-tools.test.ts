/**
 * xen-tools, unmodified, from Debian's package: the step of xen-create-image that writes an instance's configuration, with
 * its own template. What it writes goes through `xm create -n` and starts a domain. (The steps before it make disks as root.)
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, test } from 'node:test';
import { Client } from './client.ts';
import { debianPackage } from './debian-package.ts';

const { folders, skip: noPackage } = await debianPackage('xen-tools', 'libtext-template-perl');
const perl = spawnSync('perl', ['-e', 'use Getopt::Long']).status === 0;
const skip = noPackage || (perl ? false : 'there is no perl here');

describe('xen-tools', { skip }, () => {
  if (!folders) return;
  const client = new Client();
  const [tools, library] = folders as [string, string];
  const images = path.join(client.home.dir, 'images/domains');

  /** `xen-create-image` hands its options on in the environment. */
  async function instance(hostname: string, options: Record<string, string>): Promise<string> {
    mkdirSync(path.join(images, hostname), { recursive: true });
    const disk = (name: string) => path.join(images, hostname, `${name}.img`);
    for (const name of ['swap', 'disk']) writeFileSync(disk(name), Buffer.alloc(1 << 20));
    const { status, stderr } = await client.run(
      'perl',
      [
        path.join(tools, 'usr/bin/xt-create-xen-config'),
        `--output=${client.home.dir}`,
        `--template=${path.join(tools, 'etc/xen-tools/xm.tmpl')}`,
      ],
      {
        PERL5LIB: path.join(library, 'usr/share/perl5'),
        hostname,
        dir: path.join(client.home.dir, 'images'),
        kernel: client.home.kernel,
        memory: '64Mb',
        vcpus: '1',
        NUMPARTITIONS: '2',
        PARTITION1: `swap:128Mb:swap:::file::${disk('swap')}`,
        PARTITION2: `disk:4Gb:ext3:/:noatime:file::${disk('disk')}`,
        ...options,
      },
    );
    assert.equal(status, 0, stderr);
    return path.join(client.home.dir, `${hostname}.cfg`);
  }

  const dryRun = async (file: string) => {
    const { status, stdout, stderr } = await client.xm('create', '-n', '--json', file);
    assert.equal(status, 0, stderr);
    return { config: JSON.parse(stdout), stderr };
  };

  test('an instance with DHCP', async () => {
    const file = await instance('web', { dhcp: '1', initrd: client.home.kernel, mac: '00:16:3E:11:22:33' });
    assert.match(readFileSync(file, 'utf8'), /created\n# by xen-tools/);
    const { config, stderr } = await dryRun(file);
    assert.deepEqual(
      [config.name, config.memoryMiB, config.vcpus, config.root, config.args, config.ip],
      ['web', 64, 1, '/dev/xvda2 ro', 'elevator=noop', ':1.2.3.4::::eth0:dhcp'],
    );
    assert.deepEqual(config.vifs, [{ mac: '00:16:3e:11:22:33' }]);
    assert.deepEqual(
      config.disks.map(({ dev, mode }: { dev: string; mode: string }) => [dev, mode]),
      [
        ['xvda2', 'w'],
        ['xvda1', 'w'],
      ],
    );
    assert.deepEqual([config.onPoweroff, config.onReboot, config.onCrash], ['destroy', 'restart', 'restart']);
    assert.doesNotMatch(stderr, /unknown|not used/);
  });

  test('an instance with addresses, a bridge, more memory later, SCSI names and an administrator', async () => {
    const file = await instance('mail', {
      ips: '10.0.0.7 10.0.0.8',
      mac: '00:16:3e:11:22:34',
      vifname: 'mail.0',
      bridge: 'xenbr0',
      maxmem: '1Gb',
      scsi: '1',
      admins: '',
    });
    const { config } = await dryRun(file);
    assert.deepEqual(config.vifs, [
      { mac: '00:16:3e:11:22:34', vifname: 'mail.0', bridge: 'xenbr0', ip: '10.0.0.7 10.0.0.8' },
    ]);
    assert.deepEqual([config.maxmemMiB, config.disks[0].dev, config.root], [1024, 'sda2', '/dev/sda2 ro']);
  });

  test('the instance starts, and xen-create-image finds its name in xm list', async () => {
    const created = await client.xm('create', path.join(client.home.dir, 'mail.cfg'));
    assert.equal(created.status, 0, created.stderr);
    assert.match((await client.xm('list', 'mail')).stdout, /^mail /m);
  });
});
