/** The (vm …) expression of a configuration, xm-xend 2.7: what `xm create -n` prints and `xm list -l` shows as (config …). */
import type { DomainConfig } from './domain-config.ts';
import type { Sxp } from './sxp.ts';

const row = (key: string, value: string | number | undefined): Sxp[] => (value === undefined ? [] : [[key, value]]);

export function vmSxp(config: DomainConfig): Sxp {
  const differs = <T>(value: T, usual: T): T | undefined => (value === usual ? undefined : value);
  return [
    'vm',
    ['name', config.name],
    ...row('uuid', config.uuid),
    ['memory', config.memoryMiB],
    ...row('maxmem', differs(config.maxmemMiB, config.memoryMiB)),
    ...row('vcpus', differs(config.vcpus, 1)),
    ...row('on_poweroff', differs(config.onPoweroff, 'destroy')),
    ...row('on_reboot', differs(config.onReboot, 'restart')),
    ...row('on_crash', differs(config.onCrash, 'destroy')),
    [
      'image',
      [
        'linux',
        ['kernel', config.kernel],
        ...row('ramdisk', config.ramdisk),
        ...row('ip', config.ip),
        ...row('root', config.root),
        ...row('args', config.args),
        ...row('boot_options', config.bootOptions),
      ],
    ],
    ...config.disks.map(({ uname, dev, mode, shared }): Sxp => {
      const access = shared ? `${mode}!` : mode;
      return ['device', ['vbd', ['uname', uname], ['dev', dev], ['mode', access]]];
    }),
    ...config.vifs.map((vif): Sxp => ['device', ['vif', ...vifRows(vif)]]),
  ];
}

function vifRows(vif: string): Sxp[] {
  const items = vif.split(',').map((item) => item.trim());
  return items.filter(Boolean).map((item): Sxp => item.split('=', 2).map((part) => part.trim()));
}
