/** A domain as `xl list -l` prints it, and what `xl create -n` would make, xm-xend 1.9: the JSON that today's scripts read. */
import type { DomainConfig } from '../config/domain-config.ts';
import { kernelLine } from '../config/kernel-line.ts';
import type { DomainView } from '../xend/view.ts';

const KIB = 1024;

/** Domain-0 has sizes, and no configuration. */
type Sizes = Pick<DomainView, 'name' | 'vcpus' | 'memoryMiB' | 'maxmemMiB'> & { readonly uuid?: string };

export const xlDomain = (domain: DomainView): object => ({
  domid: domain.domid,
  config: xlConfig(domain, domain.config),
});

/** A domain that is not there: it has no number, and a uuid only if the configuration names one. */
export const xlDryRun = (config: DomainConfig): object => ({ domid: null, config: xlConfig(config, config) });

function xlConfig({ name, uuid, vcpus, memoryMiB, maxmemMiB }: Sizes, config: DomainConfig | undefined): object {
  return {
    c_info: { type: 'pv', name, ...(uuid ? { uuid } : {}) },
    b_info: {
      max_vcpus: config?.vcpus ?? vcpus,
      avail_vcpus: Array.from({ length: vcpus }, (_, vcpu) => vcpu),
      max_memkb: maxmemMiB * KIB,
      target_memkb: memoryMiB * KIB,
      ...(config ? builtFrom(config) : {}),
      'type.pv': {},
    },
    ...(config ? devices(config) : {}),
  };
}

const builtFrom = (config: DomainConfig) => ({
  kernel: config.kernel,
  cmdline: kernelLine(config),
  ...(config.ramdisk ? { ramdisk: config.ramdisk } : {}),
});

const devices = ({ disks, vifs, onPoweroff, onReboot, onCrash, onWatchdog }: DomainConfig) => ({
  disks: disks.map(({ uname, dev, mode }) => ({
    pdev_path: uname
      .replace(/^file:/, '')
      .replace(/^phy:(?!\/)/, '/dev/')
      .replace(/^phy:/, ''),
    vdev: dev,
    backend: 'phy',
    format: 'raw',
    removable: 0,
    readwrite: mode === 'w' ? 1 : 0,
    is_cdrom: 0,
  })),
  nics: vifs.map(({ mac, bridge, script, ip, vifname }, devid) => ({
    devid,
    mac,
    ...(bridge ? { bridge } : {}),
    ...(script ? { script } : {}),
    ...(ip ? { ip } : {}),
    ...(vifname ? { ifname: vifname } : {}),
    nictype: 'vif',
  })),
  on_poweroff: onPoweroff.replaceAll('-', '_'),
  on_reboot: onReboot.replaceAll('-', '_'),
  on_crash: onCrash.replaceAll('-', '_'),
  on_watchdog: (onWatchdog ?? onCrash).replaceAll('-', '_'),
});
