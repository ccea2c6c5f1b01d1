/**
 * PCI devices of a configuration file: Xen 2.0's BUS,DEV,FUNC and what later tools write, [DOMAIN:]BUS:DEV.FUNC with options
 * behind it (xm-xend 2.2, 2.8), all in hexadecimal. They are kept and printed; no guest gets one.
 */
import { ConfigError } from './config-error.ts';
import type { PciDevice } from './domain-config.ts';

const HEX = '(?:0x)?([0-9a-f]{1,4})';
const CLASSIC = new RegExp(`^${HEX}\\s*,\\s*${HEX}\\s*,\\s*${HEX}$`, 'i');
const LATER = /^(?:([0-9a-f]{1,4}):)?([0-9a-f]{1,2}):([0-9a-f]{1,2})\.([0-7])(?:@[0-9a-f]{1,2})?(?:,[a-z_]+=[^,]*)*$/i;
/** A bus has 32 devices of 8 functions. */
const MOST = { domain: 0xffff, bus: 0xff, dev: 0x1f, func: 7 };

export function parsePci(text: string): PciDevice {
  const word = text.trim();
  const [, ...classic] = CLASSIC.exec(word) ?? [];
  const [, domain, ...later] = LATER.exec(word) ?? [];
  const [bus, dev, func] = (classic.length > 0 ? classic : later).map((digits) => Number.parseInt(digits, 16));
  if (bus === undefined || dev === undefined || func === undefined || !isPlace({ bus, dev, func }))
    throw new ConfigError(`Invalid pci specifier: ${text} (BUS,DEV,FUNC or BUS:DEV.FUNC is wanted, in hexadecimal)`);
  const segment = Number.parseInt(domain ?? '0', 16);
  return { ...(segment > 0 && { domain: segment }), bus, dev, func };
}

/** The values of (pci (bus 0x1) (dev 0x1f) (func 0x0)): hexadecimal with 0x, else decimal. */
export function pciFromSxp(values: ReadonlyMap<string, string>): PciDevice {
  const number = (key: keyof typeof MOST): number => {
    const text = values.get(key) ?? '';
    if (!/^(0x[0-9a-f]{1,4}|\d{1,5})$/i.test(text))
      throw new ConfigError(`pci: invalid ${key}: ${text || 'it is missing'}`);
    return Number(text);
  };
  const domain = values.has('domain') ? number('domain') : 0;
  const place = { ...(domain > 0 && { domain }), bus: number('bus'), dev: number('dev'), func: number('func') };
  if (!isPlace(place)) throw new ConfigError(`pci: there is no such place: ${JSON.stringify(place)}`);
  return place;
}

const isPlace = (place: PciDevice): boolean =>
  Object.entries(place).every(([key, value]) => value <= MOST[key as keyof typeof MOST]);
