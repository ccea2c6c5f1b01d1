/**
 * Commands of later tools that are not here, for people and scripts that try them: the name, and what does the same or
 * something near. A name that index.ts has is a real command whatever this table says.
 */
const row = (names: string, instead = ''): [string, string][] => names.split(' ').map((name) => [name, instead]);

// biome-ignore format: a table
export const NOT_IMPLEMENTED: ReadonlyMap<string, string> = new Map([
  ...row('bvt bvt_ctxallow atropos rrobin sched-sedf',          'the scheduler is the credit scheduler, see sched-credit'),
  ...row('sched-credit2 sched-rtds',                            'see sched-credit'),
  ...row('new delete start',                                    'xm create makes and starts a domain; links in /etc/xen/auto start at boot'),
  ...row('config-update',                                       'destroy the domain and create it again'),
  ...row('suspend resume',                                      'see pause and unpause'),
  ...row('save restore migrate migrate-receive remus'),
  ...row('sharing claims'),
  ...row('vncviewer',                                           'domains have no graphical console'),
  ...row('cd-insert cd-eject block-configure',                  'see block-detach and block-attach'),
  ...row('button-press',                                        'see shutdown'),
  ...row('reset',                                               'see reboot and destroy'),
  ...row('vif-list network-list network-attach network-detach'),
  ...row('cpupool-create cpupool-list cpupool-destroy cpupool-rename cpupool-cpu-add cpupool-cpu-remove cpupool-migrate cpupool-numa-split'),
  ...row('pci-attach pci-detach pci-list pci-assignable-add pci-assignable-remove pci-assignable-list'),
  ...row('scsi-attach scsi-detach scsi-list usb-add usb-del usb-list usbctrl-attach usbctrl-detach usb-attach usbdev-attach usbdev-detach'),
  ...row('vtpm-attach vtpm-detach vtpm-list vkb-attach vkb-detach vkb-list vdispl-attach vdispl-detach vdispl-list vsnd-attach vsnd-detach vsnd-list'),
  ...row('qemu-monitor-command devd'),
  ...row('psr-cmt-attach psr-cmt-detach psr-cmt-show psr-cat-set psr-cat-show psr-mba-set psr-mba-show psr-hwinfo'),
  ...row('getenforce setenforce loadpolicy set-parameters getpolicy setpolicy labels addlabel rmlabel getlabel'),
  ...row('debug-keys'),
  // Words of virsh, incus and others.
  ...row('stop kill',                                           'see shutdown and destroy'),
  ...row('restart',                                             'see reboot'),
  ...row('launch init define run',                              'see create'),
  ...row('undefine rm',                                         'see destroy; what a domain was made of stays'),
  ...row('dominfo domstate dumpxml show ps ls inspect status',                'see list, and list -l'),
  ...row('file push pull',                                      'xm cp copies files into a domain and out of it: xm cp FILE DOM:PATH'),
  ...row('shell enter login ssh bash',                          'see exec -it and console'),
  ...row('attach ttyconsole',                                   'see console; block-attach is about disks'),
  ...row('logs',                                                'see console for what a domain has printed, dmesg and log for the hypervisor and xend'),
  ...row('edit config set-config',                              'its configuration is a file: change it, destroy the domain and create it again'),
  ...row('snapshot snapshot-create snapshot-list clone copy',   "copy its disk's file while it is shut down"),
  ...row('image images pool-list vol-list storage',             'disks and kernels are files, see help create'),
  ...row('setmem setmaxmem',                                    'see mem-set and mem-max'),
  ...row('setvcpus',                                            'see vcpu-set'),
  ...row('stats domstats cpu-stats',                            'see top and list'),
  ...row('net-list network domiflist'),
  ...row('version',                                             'see --version, and info'),
  ...row('attach-disk detach-disk domblklist domblkstat',       'see block-attach, block-detach and block-list'),
  ...row('vcpuinfo vcpupin schedinfo',                          'see vcpu-list, vcpu-pin and sched-credit'),
  ...row('dump',                                                'see dump-core'),
  ...row('nodeinfo hostinfo',                                   'see info'),
  ...row('send-key inject-nmi',                                 'see sysrq and trigger'),
  ...row('autostart',                                           'links in /etc/xen/auto start at boot, see xendomains'),
  ...row('monitor event events',                                      'GET /events of xend, see docs/api.md'),
]);
