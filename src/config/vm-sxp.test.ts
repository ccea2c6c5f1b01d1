/** The (vm …) expression: what is printed is read back, what other tools wrote is read, what is wrong is said in one line. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { defaultBootOptions } from './boot-options.ts';
import { checkConfig } from './check.ts';
import { ConfigError } from './config-error.ts';
import type { DomainConfig } from './domain-config.ts';
import { parseSxp, printPretty } from './sxp.ts';
import { configFromSxp, vmSxp } from './vm-sxp.ts';

const MAC = 'aa:00:00:5e:2c:b2';
const read = (text: string) => configFromSxp(parseSxp(text)[0]!, () => MAC);

/** xm-xend 1.6, the first domain of the manual. */
const TTYLINUX = `(vm
    (name ttylinux)
    (memory 64)
    (image
        (linux
            (kernel /boot/vmlinuz-2.6-xenU)
            (ip 1.2.3.4:1.2.3.4::::eth0:off)
            (root '/dev/sda1 ro')
        )
    )
    (device (vbd (uname file:/path/to/ttylinux/rootfs) (dev sda1) (mode w)))
    (device (vif (mac aa:00:00:5e:2c:b2)))
)
`;

const PLAIN: DomainConfig = {
  name: 'ttylinux',
  kernel: '/boot/vmlinuz-2.6-xenU',
  memoryMiB: 64,
  maxmemMiB: 64,
  vcpus: 1,
  ip: '1.2.3.4:1.2.3.4::::eth0:off',
  root: '/dev/sda1 ro',
  bootOptions: defaultBootOptions(1),
  disks: [{ uname: 'file:/path/to/ttylinux/rootfs', dev: 'sda1', mode: 'w' }],
  vifs: [{ mac: MAC }],
  onPoweroff: 'destroy',
  onReboot: 'restart',
  onCrash: 'destroy',
};

test("the manual's first domain is printed and read byte for byte", () => {
  assert.equal(printPretty(vmSxp(PLAIN)), TTYLINUX);
  assert.deepEqual(read(TTYLINUX), { config: PLAIN, ignored: [] });
});

const FULL: DomainConfig = {
  ...PLAIN,
  name: 'web-1',
  uuid: '01234567-89ab-cdef-0123-456789abcdef',
  ramdisk: '/boot/initrd',
  maxmemMiB: 256,
  vcpus: 4,
  args: `nfsroot=10.0.0.2:/x/y 4 a=b "quoted's"`,
  bootOptions: '',
  disks: [
    { uname: 'phy:vg/a', dev: 'sda1', mode: 'w', shared: true },
    { uname: 'phy:/dev/vg/b', dev: 'sda2', mode: 'r' },
  ],
  vifs: [{ mac: MAC, vifname: 'web', bridge: 'br0', script: 'vif-route', backend: 'net', ip: '10.0.0.5/24 10.0.0.6' }],
  pci: [
    { bus: 1, dev: 0x1f, func: 0 },
    { domain: 1, bus: 3, dev: 0, func: 7 },
  ],
  backends: ['blkif', 'netif'],
  onCrash: 'preserve',
  onWatchdog: 'restart',
};

test('a configuration with everything in it survives printing and reading, and so does (domain … (config …))', () => {
  assert.deepEqual(read(printPretty(vmSxp(FULL))).config, FULL);
  assert.deepEqual(read(`(domain (id 5) (name x) (config ${printPretty(vmSxp(FULL))}))`).config, FULL);
  assert.deepEqual(checkConfig(read(printPretty(vmSxp(FULL))).config), FULL);
});

test('restart modes are one word where one says it', () => {
  const always: DomainConfig = { ...PLAIN, onPoweroff: 'restart', onReboot: 'restart', onCrash: 'restart' };
  assert.match(printPretty(vmSxp(always)), /\n {4}\(restart always\)\n/);
  assert.deepEqual(read(printPretty(vmSxp(always))).config, always);
});

test("backends and PCI devices are printed in Xen 2.0's places and told to mean nothing here", () => {
  const config: DomainConfig = { ...PLAIN, pci: [{ bus: 1, dev: 0x1f, func: 0 }], backends: ['blkif'] };
  const text = printPretty(vmSxp(config));
  assert.match(text, /\n {4}\(memory 64\)\n {4}\(backend \(blkif\)\)\n {4}\(image\n/);
  assert.match(text, /\(vbd .*\n {4}\(device \(pci \(bus 0x1\) \(dev 0x1f\) \(func 0x0\)\)\)\n {4}\(device \(vif/);
  assert.deepEqual(read(text), { config, ignored: ['backend', 'device pci'] });
});

test("what later tools add is left alone and told, the original's empty values count as not there", () => {
  const text = `(vm (name a) (memory 64) (maxmem ) (shadow_memory 0) (on_xend_start ignore)
    (image (linux (kernel /k) (ramdisk ) (videoram 4))) (device (tap (uname tap:aio:/a) (dev xvda:disk) (mode rw))))`;
  const { config, ignored } = read(text);
  assert.deepEqual(config.disks, [{ uname: 'file:/a', dev: 'xvda', mode: 'w' }]);
  assert.deepEqual([config.maxmemMiB, config.ramdisk], [64, undefined]);
  assert.deepEqual(ignored, ['shadow_memory', 'on_xend_start', 'image videoram']);
});

test("a weight is read as Xen 2.0's multiple of everybody's share or as a later tool's number", () => {
  const weight = (text: string) =>
    read(`(vm (name a) (cpu_weight ${text}) (image (linux (kernel /k))))`).config.cpuWeight;
  assert.deepEqual(['1.5', '512'].map(weight), [384, 512]);
});

test('a kernel line that does not fit is refused in ready configurations too', () => {
  assert.throws(() => checkConfig({ ...PLAIN, args: 'x'.repeat(1024) }), /at most 1023 fit$/);
});

// biome-ignore format: a table
const WRONG: [sxp: string, message: RegExp][] = [
  ['vm',                                          /^\(vm \.\.\.\) is wanted, not a word$/],
  ['(domain (id 5))',                             /^\(vm \.\.\.\) is wanted, not \(domain \.\.\.\)$/],
  ['(vm)',                                        /^missing vm name$/],
  ['(vm (name a))',                               /^missing image/],
  ['(vm name)',                                   /\(NAME VALUE\) is wanted, not name$/],
  ['(vm (name a) (image (hvm (kernel /k))))',     /^unknown image type: hvm$/],
  ['(vm (name a) (image linux))',                 /a list is wanted, not linux$/],
  ['(vm (name a) (memory lots))',                 /^\(memory lots\): a number is wanted$/],
  ['(vm (name a) (cpu_weight heavy))',            /^invalid cpu weight: heavy$/],
  ['(vm (name a) (backend (usbif)))',             /^invalid backend type: \(usbif\)/],
  ['(vm (name a) (device (pci (bus 1) (dev 2))))', /^pci: invalid func: it is missing$/],
  ['(vm (name a) (device (pci (bus 1) (dev 0x20) (func 0))))', /^pci: there is no such place/],
  ['(vm (name a) (memory 1 2))',                  /^\(memory \.\.\.\): one value is wanted, not \(1 2\)$/],
  ['(vm (name (a b)))',                           /^\(name \.\.\.\): one value is wanted, not \(a b\)$/],
  ['(vm (name a) (restart maybe))',               /^invalid restart mode: maybe$/],
  ['(vm (name a) (on_crash explode))',            /one of destroy, restart/],
  ['(vm (name a) (device (vbd (dev sda1))))',     /^vbd: Missing uname$/],
  ['(vm (name a) (device (vbd (uname phy:a))))',  /^vbd: Missing dev$/],
  ['(vm (name a) (device (fridge (dev a))))',     /^unknown device type: fridge$/],
  ['(vm (name a) (device (vif (mac 7))))',        /7 is no hardware address/],
];
for (const [sxp, message] of WRONG) {
  test(`refused: ${sxp}`, () =>
    assert.throws(
      () => read(sxp),
      (error: Error) => error instanceof ConfigError && message.test(error.message),
    ));
}
