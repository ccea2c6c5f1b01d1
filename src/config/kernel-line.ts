/** The guest's kernel command line, xm-xend 2.3. Domus's own options come first, so that whatever the file says wins. */
import { START_INFO_BYTES } from '../abi/start-info.ts';

export interface KernelLineParts {
  readonly ip?: string;
  readonly root?: string;
  readonly args?: string;
  readonly bootOptions?: string;
}

export function kernelLine(parts: KernelLineParts): string {
  return [parts.bootOptions, parts.ip && `ip=${parts.ip}`, parts.root && `root=${parts.root}`, parts.args]
    .filter((part) => part !== undefined && part !== '')
    .join(' ');
}

/** Why a guest cannot get it, if so: start_info has that many bytes for it, with a NUL behind. */
export function kernelLineProblem(parts: KernelLineParts): string | undefined {
  const bytes = Buffer.byteLength(kernelLine(parts));
  const most = START_INFO_BYTES.cmd_line.size - 1;
  return bytes > most ? `the kernel command line has ${bytes} bytes; at most ${most} fit` : undefined;
}

/** Stands for "no server": literally what the original writes. */
export const DUMMY_SERVER = '1.2.3.4';

export interface IpVariables {
  readonly ip: string;
  readonly netmask: string;
  readonly gateway: string;
  readonly hostname: string;
  readonly interface: string;
  readonly dhcp: string;
  readonly nfsServer: string;
}

/** The value of ip=, or undefined when neither an address nor dhcp is wanted. */
export function ipOption(v: IpVariables): string | undefined {
  if (v.ip === '' && v.dhcp === 'off') return undefined;
  return [v.ip, v.nfsServer || DUMMY_SERVER, v.gateway, v.netmask, v.hostname, v.interface, v.dhcp].join(':');
}
