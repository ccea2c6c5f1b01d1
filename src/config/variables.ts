/**
 * The variables of a configuration file, xm-xend 2.2 and 2.8, one row each. `used` ones become the domain's configuration
 * (load.ts); `accepted` ones are known, mean nothing here or not yet, and pass in silence; `later` ones are told to have
 * no effect yet, because the person wants something that will not happen.
 */
import { nearest } from './nearest.ts';

export type Kind = 'text' | 'int' | 'number' | 'flag' | 'list' | 'any';
export type Standing = 'used' | 'accepted' | 'later';

export interface Variable {
  readonly name: string;
  readonly kind: Kind;
  readonly standing: Standing;
  readonly help: string;
}

const row = (name: string, kind: Kind, standing: Standing, help: string): Variable => ({ name, kind, standing, help });

// biome-ignore format: a table
export const VARIABLES: readonly Variable[] = [
  row('kernel',             'text',   'used',     'guest kernel: a bzImage or vmlinux'),
  row('ramdisk',            'text',   'used',     'initial ramdisk; default initrd-VERSION beside a kernel vmlinuz-VERSION, if there is one'),
  row('memory',             'int',    'used',     'memory in MiB, 128 when not given'),
  row('maxmem',             'int',    'used',     'how far memory may grow, MiB'),
  row('name',               'text',   'used',     'the domain\'s name; the file\'s name when not given'),
  row('uuid',               'text',   'used',     'the domain\'s uuid; a random one when not given'),
  row('vcpus',              'int',    'used',     'CPUs of the guest'),
  row('disk',               'list',   'used',     'disks: "file:PATH,DEVICE,MODE" or "phy:NAME,DEVICE,MODE"'),
  row('vif',                'list',   'used',     'network interfaces: "mac=...,bridge=..."'),
  row('root',               'text',   'used',     'root= of the kernel line'),
  row('extra',              'text',   'used',     'further kernel options'),
  row('cmdline',            'text',   'used',     'the kernel line instead of root and extra'),
  row('ip',                 'text',   'used',     'address of the guest\'s first interface'),
  row('netmask',            'text',   'used',     'its netmask'),
  row('gateway',            'text',   'used',     'its gateway'),
  row('hostname',           'text',   'used',     'its host name'),
  row('interface',          'text',   'used',     'the interface to configure, eth0'),
  row('dhcp',               'text',   'used',     '"dhcp" or "off"'),
  row('nfs_server',         'text',   'used',     'server of an NFS root'),
  row('nfs_root',           'text',   'used',     'path of an NFS root'),
  row('restart',            'text',   'used',     'onreboot, always (after crashes too) or never: the old form of on_poweroff, on_reboot and on_crash. A sixth restart in a minute is the end'),
  row('autorestart',        'flag',   'used',     'true: restart = "always"'),
  row('on_poweroff',        'text',   'used',     'after poweroff: destroy, restart, preserve'),
  row('on_reboot',          'text',   'used',     'after reboot: restart, destroy, preserve'),
  row('on_crash',           'text',   'used',     'after a crash: destroy, restart, preserve'),
  row('on_watchdog',        'text',   'used',     'after its own watchdog found it hanging; as on_crash when not given'),
  row('console',            'int',    'used',     'TCP port of the console, 9600 + domain id when not given'),
  row('builder',            'text',   'used',     'linux or generic'),
  row('type',               'text',   'used',     'pv'),
  row('domus_boot_options', 'text',   'used',     'kernel options that Domus puts first; "" for none'),
  row('pci',                'list',   'later',    'PCI devices'),
  row('blkif',              'flag',   'later',    'make it a block backend'),
  row('netif',              'flag',   'later',    'make it a network backend'),
  row('vnc',                'any',    'later',    'graphical console'),
  row('bootloader',         'text',   'later',    'boot loader that picks the kernel from the disk'),
  row('cpu',                'any',    'used',     'CPU to begin on; -1 is any'),
  row('cpus',               'any',    'used',     'CPUs to run on: "0-3,^1" or "all"; a list has those of each vCPU'),
  row('cpus_soft',          'any',    'accepted', 'CPUs to prefer'),
  row('cpu_weight',         'any',    'used',     'share of contended CPUs, 256 when not given; 1.5 means that many times the usual'),
  row('cpu_cap',            'int',    'used',     'limit in percent of one CPU'),
  row('cap',                'int',    'used',     'the same'),
  row('nics',               'int',    'used',     'number of network interfaces, 1 when not given; those without a vif string get a random MAC'),
  row('ipaddr',             'list',   'accepted', 'not used by the original either'),
  row('maxvcpus',           'any',    'accepted', 'how many CPUs can be plugged'),
  row('bootargs',           'any',    'accepted', 'options of the boot loader'),
  row('bootloader_args',    'any',    'accepted', 'the same'),
  row('on_soft_reset',      'text',   'accepted', 'after a soft reset'),
  row('on_xend_start',      'text',   'accepted', 'managed domains of xm 3'),
  row('on_xend_stop',       'text',   'accepted', 'managed domains of xm 3'),
  row('vfb',                'any',    'accepted', 'frame buffer'),
  row('vncpasswd',          'any',    'accepted', 'graphical console'),
  row('vnclisten',          'any',    'accepted', 'graphical console'),
  row('vncunused',          'any',    'accepted', 'graphical console'),
  row('vncviewer',          'any',    'accepted', 'graphical console'),
  row('vncdisplay',         'any',    'accepted', 'graphical console'),
  row('vncconsole',         'any',    'accepted', 'graphical console'),
  row('keymap',             'any',    'accepted', 'graphical console'),
  row('opengl',             'any',    'accepted', 'graphical console'),
  row('vkb',                'any',    'accepted', 'graphical console'),
  row('spice',              'any',    'accepted', 'graphical console'),
  row('videoram',           'any',    'accepted', 'device of HVM guests'),
  row('vga',                'any',    'accepted', 'device of HVM guests'),
  row('gfx_passthru',       'any',    'accepted', 'device of HVM guests'),
  row('hdtype',             'any',    'accepted', 'device of HVM guests'),
  row('device_model_version', 'any',  'accepted', 'HVM guests'),
  row('device_model_override', 'any', 'accepted', 'HVM guests'),
  row('hpet',               'any',    'accepted', 'HVM guests'),
  row('nx',                 'any',    'accepted', 'HVM guests'),
  row('viridian',           'any',    'accepted', 'HVM guests'),
  row('nestedhvm',          'any',    'accepted', 'HVM guests'),
  row('altp2m',             'any',    'accepted', 'HVM guests'),
  row('firmware',           'any',    'accepted', 'HVM guests'),
  row('bios',               'any',    'accepted', 'HVM guests'),
  row('xauthority',         'any',    'accepted', 'graphical console'),
  row('cpuid',              'any',    'accepted', 'what the guest sees of the CPU'),
  row('tsc_mode',           'any',    'accepted', 'how the guest sees time'),
  row('timer_mode',         'any',    'accepted', 'how the guest sees time'),
  row('iommu',              'any',    'accepted', 'PCI devices'),
  row('pci_msitranslate',   'any',    'accepted', 'PCI devices'),
  row('pci_power_mgmt',     'any',    'accepted', 'PCI devices'),
  row('pci_permissive',     'any',    'accepted', 'PCI devices'),
  row('e820_host',          'any',    'accepted', 'PCI devices'),
  row('vif2',               'any',    'accepted', 'an extension of xm 3'),
  row('vscsi',              'any',    'accepted', 'devices'),
  row('pool',               'text',   'accepted', 'CPU pool'),
  row('driver_domain',      'any',    'accepted', 'driver domains'),
  row('claim_mode',         'any',    'accepted', 'memory'),
  row('target',             'any',    'accepted', 'stub domains'),
  row('suppress_spurious_page_faults', 'any', 'accepted', 'memory'),
  row('sdl',                'any',    'accepted', 'graphical console'),
  row('stdvga',             'any',    'accepted', 'device of HVM guests'),
  row('serial',             'any',    'accepted', 'device of HVM guests'),
  row('boot',               'any',    'accepted', 'boot order of HVM guests'),
  row('acpi',               'any',    'accepted', 'HVM guests'),
  row('apic',               'any',    'accepted', 'HVM guests'),
  row('pae',                'any',    'accepted', 'HVM guests'),
  row('hap',                'any',    'accepted', 'HVM guests'),
  row('usb',                'any',    'accepted', 'HVM guests'),
  row('usbdevice',          'any',    'accepted', 'HVM guests'),
  row('device_model',       'any',    'accepted', 'HVM guests'),
  row('soundhw',            'any',    'accepted', 'HVM guests'),
  row('shadow_memory',      'any',    'accepted', 'HVM guests'),
  row('localtime',          'any',    'accepted', 'clock of HVM guests'),
  row('rtc_timeoffset',     'any',    'accepted', 'clock of HVM guests'),
  row('xen_platform_pci',   'any',    'accepted', 'HVM guests'),
  row('nomigrate',          'any',    'accepted', 'forbids migration'),
  row('seclabel',           'any',    'accepted', 'security label'),
  row('access_control',     'any',    'accepted', 'security label'),
  row('irq',                'any',    'accepted', 'devices'),
  row('vtpm',               'any',    'accepted', 'devices'),
  row('features',           'any',    'accepted', 'kernel features'),
];

const BY_NAME = new Map(VARIABLES.map((variable) => [variable.name, variable]));
export const findVariable = (name: string): Variable | undefined => BY_NAME.get(name);

/** The known variable that `name` was probably meant to be. */
export function nearestVariable(name: string): string | undefined {
  return nearest(
    name,
    VARIABLES.map((variable) => variable.name),
  );
}
