/** Network interface strings of configuration files, xm-xend 4.1: KEY=VALUE items, blanks around them allowed. */
import { ConfigError } from './config-error.ts';
import type { Vif } from './domain-config.ts';

export class VifFormError extends ConfigError {}

const MAC = /^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/;
const VIFNAME_MAX = 15;
type Key = Exclude<keyof Vif, 'mac'>;
const KEPT: readonly string[] = ['vifname', 'bridge', 'script', 'backend', 'ip', 'rate'] satisfies Key[];
/** Known, and without a meaning for a paravirtual interface here. */
const PASSED = ['type', 'model', 'accel', 'gatewaydev', 'devid', 'mtu', 'vlan', 'trusted'];

/** `randomMac` is asked when the string names none. */
export function parseVif(text: string, randomMac: () => string): Vif {
  const fail = (why: string): never => {
    throw new VifFormError(`Invalid vif specifier: ${text} (${why})`);
  };
  let mac: string | undefined;
  const rest: Partial<Record<Key, string>> = {};
  for (const item of text.split(',').map((one) => one.trim())) {
    if (item === '') continue;
    const at = item.indexOf('=');
    const key = item.slice(0, Math.max(at, 0)).trim();
    const value = item.slice(at + 1).trim();
    if (at < 0) fail(`${item} is no KEY=VALUE`);
    if (key === 'mac') mac = value.toLowerCase();
    else if (KEPT.includes(key)) rest[key as Key] = value;
    else if (!PASSED.includes(key)) fail(`the key ${key} is not known; mac, ${KEPT.join(', ')} are`);
  }
  if (mac !== undefined && !MAC.test(mac)) fail(`${mac} is no hardware address: six pairs of hexadecimal digits`);
  if ((rest.vifname?.length ?? 0) > VIFNAME_MAX) fail(`invalid vifname: too long: ${rest.vifname}`);
  return { mac: mac ?? randomMac(), ...rest };
}

/** Of the range that the original draws from: aa:00:00, then 23 bits of chance. */
export function randomMacOf(random: () => number): string {
  const octets = [0xaa, 0, 0, Math.floor(random() * 0x80), Math.floor(random() * 0x100), Math.floor(random() * 0x100)];
  return octets.map((octet) => octet.toString(16).padStart(2, '0')).join(':');
}
