import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { BOOT_OPTIONS, defaultBootOptions } from './boot-options.ts';
import type { DomainConfig } from './domain-config.ts';
import { EXAMPLES_DIR } from './examples.ts';
import { kernelLine } from './kernel-line.ts';
import { configFromText, loadConfig } from './load.ts';
import { nameProblem } from './name.ts';
import { editDistance } from './nearest.ts';
import type { HostFacts } from './python/builtins.ts';
import { printPretty } from './sxp.ts';
import { VARIABLES } from './variables.ts';
import { vmSxp } from './vm-sxp.ts';

const dir = mkdtempSync(path.join(os.tmpdir(), 'domus-config-'));
after(() => rmSync(dir, { recursive: true, force: true }));

const host: HostFacts = {
  env: {},
  uname: ['Linux', 'calypso', '6.1.0', '#1', 'x86_64'],
  cwd: '/folder',
  exists: () => undefined,
  interfaceAddress: () => undefined,
  gateway: () => undefined,
  print: () => {},
};

const KERNEL = 'kernel = "/boot/k"\nname = "n"\ndomus_boot_options = ""\n';

function load(text: string, variables: [string, string][] = []): { config: DomainConfig; warnings: string[] } {
  const warnings: string[] = [];
  const config = configFromText(text, {
    file: '/etc/xen/cfg',
    search: [],
    variables,
    host,
    warn: (line) => warnings.push(line),
    print: () => {},
    randomMac: () => 'aa:00:00:01:02:03',
  });
  return { config, warnings };
}

const EXAMPLE2 = `
kernel = "/boot/vmlinuz-2.6-xenU"
memory = 64
def vmid_check(var, val):
    val = int(val)
    if val <= 0:
        raise ValueError
    return val
xm_vars.var('vmid',
            use="Virtual machine id. Integer greater than 0.",
            check=vmid_check)
xm_vars.check()
name = "VM%d" % vmid
cpu = vmid
disk = [ 'phy:sda%d,sda1,w' % (7+vmid),
         'phy:sda6,sda6,r' ]
root = "/dev/sda1 ro"
extra = "4 VMID=%d usr=/dev/sda6" % vmid
`;

test('the second example of Xen 2.0 with vmid=1 becomes VM1 with its two disks', () => {
  const { config, warnings } = load(EXAMPLE2, [['vmid', '1']]);
  assert.deepEqual(warnings, []);
  assert.equal(
    printPretty(vmSxp(config)),
    `(vm
    (name VM1)
    (memory 64)
    (cpu 1)
    (image
        (linux
            (kernel /boot/vmlinuz-2.6-xenU)
            (root '/dev/sda1 ro')
            (args '4 VMID=1 usr=/dev/sda6')
        )
    )
    (device (vbd (uname phy:sda8) (dev sda1) (mode w)))
    (device (vbd (uname phy:sda6) (dev sda6) (mode r)))
    (device (vif (mac aa:00:00:01:02:03)))
)
`,
  );
});

for (const [name, variables] of [
  ['no vmid', []],
  ['vmid=0', [['vmid', '0']]],
  ['vmid=x', [['vmid', 'x']]],
] as [string, [string, string][]][]) {
  test(`the second example with ${name} names vmid and its use`, () => {
    assert.throws(
      () => load(EXAMPLE2, variables),
      /cfg:12:1: variable vmid .*Virtual machine id\. Integer greater than 0/,
    );
  });
}

// biome-ignore format: a table
const KERNEL_LINES: [text: string, line: string][] = [
  ["ip=''\ndhcp='off'\nroot='/dev/sda1 ro'",                'root=/dev/sda1 ro'],
  ["dhcp='dhcp'",                                          'ip=:1.2.3.4::::eth0:dhcp'],
  ["ip='1.2.3.4'\nroot='root=/dev/sda1 ro'",               'ip=1.2.3.4:1.2.3.4::::eth0:off root=/dev/sda1 ro'],
  ["ip='10.0.0.5'\nnetmask='255.0.0.0'\ngateway='10.0.0.1'\nhostname='h'\nroot='/dev/nfs'\nnfs_server='10.0.0.2'\nnfs_root='/x/y'\nextra='4'",
   'ip=10.0.0.5:10.0.0.2:10.0.0.1:255.0.0.0:h:eth0:off root=/dev/nfs nfsroot=10.0.0.2:/x/y 4'],
  ["cmdline='console=hvc0 quiet'\nroot='/dev/sda1'",       'console=hvc0 quiet'],
  ["extra = 4",                                            '4'],
  ["domus_boot_options = 'a=1 b'\nextra='a=2'",            'a=1 b a=2'],
];
for (const [text, line] of KERNEL_LINES) {
  test(`kernel line: ${line}`, () => assert.equal(kernelLine(load(`${KERNEL}${text}\n`).config), line));
}

test("Domus's own kernel options come first and have reasons", () => {
  const { config } = load('kernel = "/k"\nroot = "/dev/sda1"\n');
  assert.equal(kernelLine(config), `${defaultBootOptions(1)} root=/dev/sda1`);
  for (const { reason } of BOOT_OPTIONS) assert.ok(reason.length > 20);
  const two = load('kernel = "/k"\nvcpus = 2\n').config;
  assert.match(kernelLine(two), / nr_cpus=2 /, 'the guest prepares for as many CPUs as it has');
});

// biome-ignore format: a table
const DISKS: [text: string, uname: string, dev: string, mode: string][] = [
  ['phy:sda6,sda6,r',                          'phy:sda6',         'sda6',  'r'],
  ['file:/a,hda,w',                            'file:/a',          'hda',   'w'],
  ['file:images/a.img, sda1 ,rw',              'file:/folder/images/a.img', 'sda1', 'w'],
  ['tap:aio:/a,xvda,w',                        'file:/a',          'xvda',  'w'],
  ['phy:/dev/vg/b,/dev/sda2,',                 'phy:/dev/vg/b',    'sda2',  'r'],
  ['/a.img,raw,xvda,rw',                       'file:/a.img',      'xvda',  'w'],
  ['/dev/vg/a,,xvdb,r',                        'phy:/dev/vg/a',    'xvdb',  'r'],
  ['phy:vg/a,ioemu:hda,w',                     'phy:vg/a',         'hda',   'w'],
  ['file:/cd.iso,hdc:cdrom,r',                 'file:/cd.iso',     'hdc',   'r'],
  ['tap2:aio:/a,xvda:disk,w',                  'file:/a',          'xvda',  'w'],
  ['/a.img,raw,xvda',                          'file:/a.img',      'xvda',  'w'],
  ['/cd.iso,,hdc,cdrom',                       'file:/cd.iso',     'hdc',   'r'],
  ['format=raw, vdev=hdc, access=rw, devtype=cdrom, target=/a', 'file:/a', 'hdc', 'r'],
  ['vdev=xvda, backendtype=phy, direct-io-safe, target=/dev/vg/a', 'phy:/dev/vg/a', 'xvda', 'w'],
  ['vdev=xvda,access=ro,format=raw,target=/a,b.img', 'file:/a,b.img', 'xvda', 'r'],
];
for (const [text, uname, dev, mode] of DISKS) {
  test(`disk ${text}`, () =>
    assert.deepEqual(load(`${KERNEL}disk=[${JSON.stringify(text)}]\n`).config.disks, [{ uname, dev, mode }]));
}

test('a mode with ! skips the sharing check', () => {
  assert.deepEqual(load(`${KERNEL}disk=['phy:a,sda1,w!']\n`).config.disks, [
    { uname: 'phy:a', dev: 'sda1', mode: 'w', shared: true },
  ]);
});

// biome-ignore format: a table
const WRONG: [text: string, message: RegExp][] = [
  ['memory = 64\n',                           /^\/etc\/xen\/cfg: No kernel specified$/],
  [`${KERNEL}disk = ['phy:a,b']\n`,           /^\/etc\/xen\/cfg:4:1: Invalid disk specifier: phy:a,b/],
  [`${KERNEL}disk = ['phy:a,sda,w,0,x']\n`,  /Invalid disk specifier: .*TYPE:WHAT,DEVICE,MODE is wanted/],
  [`${KERNEL}disk = ['phy:a,sda,w,3']\n`,    /driver domains are not supported/],
  [`${KERNEL}disk = ['/a.img']\n`,           /TYPE:WHAT,DEVICE,MODE is wanted/],
  [`${KERNEL}disk = ['/a,raw,sda,w,x']\n`,   /x has no place in it/],
  [`${KERNEL}disk = ['vdev=sda,size=4,target=/a']\n`, /the key size is not known/],
  [`${KERNEL}disk = ['vdev=sda']\n`,         /no file or device is named/],
  [`${KERNEL}disk = ['format=qcow2,file:/a,xvda2,w']\n`, /image format qcow2 is not supported/],
  [`${KERNEL}disk = ['qcow2:/a,sda,w']\n`,    /the type qcow2: is not supported/],
  [`${KERNEL}disk = ['file:/a,sda1,x']\n`,    /mode x is neither r nor w/],
  [`${KERNEL}disk = [7]\n`,                   /disk must be a list of strings; 7 is an int/],
  [`${KERNEL}disk = {}\n`,                    /disk must be a list of strings, not a dict/],
  [`${KERNEL}memory = 'abc'\n`,               /^\/etc\/xen\/cfg:4:1: Invalid value: abc/],
  [`${KERNEL}memory = 0\n`,                   /Invalid value: 0: memory must be at least 1/],
  [`${KERNEL}memory = 64.5\n`,                /Invalid value: 64.5/],
  [`${KERNEL}vcpus = 99\n`,                   /a domain can have 32 vCPUs/],
  [`${KERNEL}name = '1abc'\n`,                /invalid vm name/],
  [`${KERNEL}name = 'a b'\n`,                 /invalid vm name.*blank/],
  [`${KERNEL}name = ['x']\n`,                 /name must be a string, not a list/],
  [`${KERNEL}restart = 'maybe'\n`,            /invalid restart mode: maybe/],
  [`${KERNEL}on_crash = 'explode'\n`,         /on_crash is one of destroy, restart/],
  [`${KERNEL}vif = ['bridge']\n`,            /^\/etc\/xen\/cfg:4:1: Invalid vif specifier: bridge \(bridge is no KEY=VALUE\)$/],
  [`${KERNEL}vif = ['mac=aa:00']\n`,         /aa:00 is no hardware address/],
  [`${KERNEL}vif = ['brigde=x']\n`,          /the key brigde is not known/],
  [`${KERNEL}vif = ['vifname=sixteen.letters!']\n`, /invalid vifname: too long/],
  [`${KERNEL}nics = -1\n`,                   /nics must be at least 0/],
  [`${KERNEL}nfs_root = '/x'\n`,              /Must set nfs root and nfs server/],
  [`${KERNEL}builder = 'hvm'\n`,              /unknown image type: hvm/],
  [`${KERNEL}uuid = '123'\n`,                 /a uuid has/],
];
for (const [text, message] of WRONG)
  test(`refused: ${message.source}`, () => assert.throws(() => load(text), { message }));

// biome-ignore format: a table
const RESTARTS: [text: string, actions: string[]][] = [
  ['',                                         ['destroy', 'restart', 'destroy']],
  ["restart = 'always'",                       ['restart', 'restart', 'restart']],
  ["restart = 'never'",                        ['destroy', 'destroy', 'destroy']],
  ['autorestart = 1',                          ['restart', 'restart', 'restart']],
  ["restart = 'never'\non_crash = 'preserve'", ['destroy', 'destroy', 'preserve']],
];
for (const [text, actions] of RESTARTS) {
  test(`restart policy of ${JSON.stringify(text)}`, () => {
    const { onPoweroff, onReboot, onCrash } = load(`${KERNEL}${text}\n`).config;
    assert.deepEqual([onPoweroff, onReboot, onCrash], actions);
  });
}

test("the command line is stronger than the file, and its lists replace the file's", () => {
  const { config } = load(`${KERNEL}memory = 64\ndisk = ['phy:a,sda1,w']\n`, [
    ['memory', '96'],
    ['disk', 'phy:b,sda2,r'],
    ['disk', 'phy:c,sda3,r'],
  ]);
  assert.equal(config.memoryMiB, 96);
  assert.deepEqual(
    config.disks.map(({ uname }) => uname),
    ['phy:b', 'phy:c'],
  );
});

test('a misspelt variable is warned of with the name that was meant; what a file sets for others is one line', () => {
  const helpers = "xen_shell = '/bin/x'\nbroadcast = '10.0.0.255'\nhost = 'calypso'\n";
  const { warnings } = load(`${KERNEL}memroy = 64\nhelper = 3\nextra = str(helper)\n${helpers}`);
  assert.deepEqual(warnings, [
    '/etc/xen/cfg:4:1: unknown variable memroy is ignored; is memory meant?',
    '/etc/xen/cfg: not used by Domus: xen_shell, broadcast, host',
  ]);
});

test('on the command line every variable that nothing looks at is warned of', () => {
  const given: [string, string][] = [
    ['vmid', '1'],
    ['vcpu', '2'],
    ['frob', 'x'],
  ];
  assert.deepEqual(load(`${KERNEL}memory = 64 + int(vmid)\n`, given).warnings, [
    'vcpu=2: unknown variable vcpu is ignored; is vcpus meant?',
    'frob=x: unknown variable frob is ignored',
  ]);
});

test('network interfaces are accepted with a warning that they are not connected', () => {
  const { config, warnings } = load(`${KERNEL}nics = 2\nvif = ['mac=AA:00:00:00:00:11 , bridge = xen-br0']\n`);
  assert.equal(warnings.length, 1);
  assert.deepEqual(config.vifs, [{ mac: 'aa:00:00:00:00:11', bridge: 'xen-br0' }, { mac: 'aa:00:00:01:02:03' }]);
  assert.deepEqual(load(`${KERNEL}nics = 0\n`).config.vifs, []);
});

test('without ramdisk, the initrd-VERSION beside a vmlinuz-VERSION is taken', () => {
  writeFileSync(path.join(dir, 'vmlinuz-6.1-x'), '');
  writeFileSync(path.join(dir, 'initrd-6.1-x'), '');
  const kernel = `name="n"\nkernel = "${dir}/vmlinuz-6.1-x"\n`;
  assert.equal(load(kernel).config.ramdisk, path.join(dir, 'initrd-6.1-x'));
  assert.equal(load(`${kernel}ramdisk = ""\n`).config.ramdisk, undefined);
  assert.equal(load(`${kernel}ramdisk = "other"\n`).config.ramdisk, '/folder/other');
});

test("a file is looked for as named, then along the path, and its name is the domain's", async () => {
  writeFileSync(path.join(dir, 'myvm'), 'kernel = "/k"\n');
  const options = { file: 'myvm', search: ['/nowhere', dir], variables: [], warn: () => {}, print: () => {} };
  const { config, path: found } = await loadConfig(options);
  assert.deepEqual([config.name, found], ['myvm', `${dir}/myvm`]);
  await assert.rejects(
    loadConfig({ ...options, file: 'nope' }),
    /Cannot open config file "nope": no such file here or in/,
  );
  writeFileSync(path.join(dir, 'binary'), Buffer.from([0x7f, 0, 1]));
  await assert.rejects(loadConfig({ ...options, file: 'binary' }), /it is not text/);
});

test('names: what is allowed and what is not', () => {
  for (const name of ['a', 'ttylinux', 'web-1.x', 'a/b:c+d_e']) assert.equal(nameProblem(name), undefined);
  for (const name of ['', '1abc', 'a b', 'ü', 'a\n']) assert.ok(nameProblem(name));
});

test('no variable is in the table twice, and swapped letters count as one mistake', () => {
  assert.equal(new Set(VARIABLES.map(({ name }) => name)).size, VARIABLES.length);
  assert.equal(editDistance('memroy', 'memory'), 1);
  assert.equal(editDistance('', 'abc'), 3);
});

test('the examples that are shipped evaluate without a warning', async () => {
  const warnings: string[] = [];
  const options = { search: [EXAMPLES_DIR], constants: { domus_images: '/images' }, print: () => {} };
  const warn = (line: string) => warnings.push(line);
  const one = await loadConfig({ ...options, file: 'xmexample1', variables: [], warn });
  assert.deepEqual([one.config.name, one.config.kernel], ['ExampleDomain', '/images/vmlinuz']);
  const two = await loadConfig({ ...options, file: 'xmexample2', variables: [['vmid', '3']], warn });
  assert.equal(two.config.name, 'VM3');
  assert.deepEqual(
    two.config.disks.map(({ uname, mode }) => `${uname},${mode}`),
    ['file:/images/vm3.img,w', 'file:/images/ttylinux.img,r'],
  );
  assert.equal(two.config.args, '4 VMID=3 usr=/dev/sda6');
  assert.deepEqual(warnings, []);
});

test('CPUs, weight and cap: in every notation that files have', () => {
  const of = (text: string) => {
    const { cpuWeight, cpuCap, cpus } = load(`${KERNEL}${text}\n`).config;
    return { cpuWeight, cpuCap, cpus };
  };
  assert.deepEqual(of(''), { cpuWeight: undefined, cpuCap: undefined, cpus: undefined });
  assert.deepEqual(of('cpu_weight = 512\ncpu_cap = 50'), { cpuWeight: 512, cpuCap: 50, cpus: undefined });
  assert.deepEqual(of('cpu_weight = 1.5\ncap = "25"'), { cpuWeight: 384, cpuCap: 25, cpus: undefined });
  assert.deepEqual(of('vcpus = 2\ncpus = "0"').cpus, [[0], [0]]);
  assert.deepEqual(of('vcpus = 2\ncpus = ["all", 0]').cpus, [[], [0]]);
  assert.deepEqual(of('cpus = "all"').cpus, undefined);
  assert.throws(() => of('cpus = "a-b"'), /cpus|a-b is no CPU/);
  assert.deepEqual(of('cpu_weight = "2.0"').cpuWeight, 512);
  for (const wrong of ['0', '0.001', '1000.5', '"0x10"', '-1.5', '"fast"'])
    assert.throws(() => of(`cpu_weight = ${wrong}`), /Invalid value: .*cpu_weight is a number from 1/);
});

test('PCI devices: in both notations, and refused when they are no place on a bus', () => {
  const of = (text: string) => load(`${KERNEL}pci = ['${text}']\n`).config.pci;
  const far = [{ bus: 1, dev: 0x1f, func: 0 }];
  for (const text of ['1,1f,0', '0x1, 0x1f, 0', '01:1f.0', '0000:01:1f.0@5,permissive=1'])
    assert.deepEqual(of(text), far);
  assert.deepEqual(of('0001:03:00.7'), [{ domain: 1, bus: 3, dev: 0, func: 7 }]);
  assert.equal(of(''), undefined);
  for (const wrong of ['1,20,0', '1,2', '1,2,8', '100,0,0', 'x,y,z', '01:20.0', '01:00.8', '1,2,3,4'])
    assert.throws(() => of(wrong), { message: new RegExp(`Invalid pci specifier: ${wrong} `) });
  assert.deepEqual(load(`${KERNEL}blkif = 1\nnetif = 'no'\n`).config.backends, ['blkif']);
});

test('a kernel line that start_info has no room for is refused, whatever its parts were', () => {
  const long = 'x=1 '.repeat(256);
  const wrong = /the kernel command line has \d+ bytes; at most 1023 fit$/;
  for (const name of ['extra', 'cmdline', 'root']) assert.throws(() => load(`${KERNEL}${name} = "${long}"\n`), wrong);
  assert.throws(() => load(`${KERNEL}domus_boot_options = ""\nextra = "${'ä'.repeat(512)}"\n`), wrong);
  assert.equal(load(`${KERNEL}domus_boot_options = ""\nextra = "${'x'.repeat(1023)}"\n`).config.args?.length, 1023);
});

test('a file in Python is read without the library of the schema: it takes longer to load than all else', () => {
  const program = `
    const { registerHooks } = require('node:module');
    registerHooks({ load: (url, context, next) => (console.log(url), next(url, context)) });
    import(process.argv[1]);`;
  const load = fileURLToPath(new URL('./load.ts', import.meta.url));
  const loaded = execFileSync(process.execPath, ['-e', program, load], { encoding: 'utf8' });
  assert.match(loaded, /config\/load\.ts\n/);
  assert.doesNotMatch(loaded, /typebox/);
});
