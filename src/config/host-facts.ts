/** What this machine tells to a configuration file that asks: its names, its environment, whether a path exists. */
import { readFileSync, statSync } from 'node:fs';
import os from 'node:os';
import type { HostFacts } from './python/builtins.ts';

export function hostFacts(print: (text: string) => void): HostFacts {
  return {
    env: process.env,
    uname: [os.type(), os.hostname(), os.release(), os.version(), os.machine()],
    cwd: process.cwd(),
    exists(file) {
      const stat = statSync(file, { throwIfNoEntry: false });
      return stat && (stat.isFile() ? 'file' : stat.isDirectory() ? 'folder' : 'other');
    },
    interfaceAddress: (device) => os.networkInterfaces()[device]?.find(({ family }) => family === 'IPv4'),
    gateway: defaultGateway,
    print,
  };
}

/** The default route's gateway: the kernel's table has addresses as little-endian hexadecimal numbers. */
function defaultGateway(): string | undefined {
  try {
    const lines = readFileSync('/proc/net/route', 'latin1').split('\n');
    const hex = lines.map((line) => line.split('\t')).find(([, destination]) => destination === '00000000')?.[2];
    const octets = hex?.match(/../g)?.reverse();
    return octets?.map((octet) => Number.parseInt(octet, 16)).join('.');
  } catch {
    return undefined;
  }
}
