/** Disk strings of configuration files, xm-xend 3.1 and what of 3.5 means the same. */
import path from 'node:path';
import { ConfigError } from './config-error.ts';
import type { Disk } from './domain-config.ts';

export class DiskFormError extends ConfigError {}

/** Later prefixes for "a raw image behind a file". */
const FILE_PREFIXES = ['file:', 'tap:aio:', 'tap2:aio:', 'tap:', 'tap2:', 'raw:'];
const ACCESS: Record<string, 'r' | 'w'> = { r: 'r', ro: 'r', w: 'w', rw: 'w' };

export function parseDisk(text: string, cwd: string): Disk {
  const fail = (why: string): never => {
    throw new DiskFormError(`Invalid disk specifier: ${text}${why ? ` (${why})` : ''}`);
  };
  const fields = text.split(',').map((field) => field.trim());
  const prefixed = /^[a-z0-9]+:/.test(fields[0] ?? '');
  let target = fields[0] ?? '';
  let dev: string | undefined;
  let access: string | undefined;
  if (fields.some((field) => /^(target|vdev|access|format)=/.test(field))) {
    // xl's keys; target= swallows the rest of the string.
    const at = text.search(/(^|,)\s*target=/);
    target = at < 0 ? '' : text.slice(text.indexOf('target=', at) + 7).trim();
    const keys = new Map(
      (at < 0 ? text : text.slice(0, at)).split(',').map((item) => item.trim().split('=', 2) as [string, string]),
    );
    dev = keys.get('vdev');
    access = keys.get('access') ?? 'rw';
    checkFormat(keys.get('format'));
  } else if (prefixed) {
    if (fields.length !== 3 && fields.length !== 4) fail('TYPE:WHAT,DEVICE,MODE is wanted');
    [, dev, access] = fields;
    if (fields[3] && fields[3] !== '0') fail('driver domains are not supported');
  } else {
    if (fields.length !== 4) fail('TYPE:WHAT,DEVICE,MODE is wanted');
    checkFormat(fields[1]);
    [, , dev, access] = fields;
  }
  function checkFormat(format: string | undefined): void {
    if (format && format !== 'raw') fail(`image format ${format} is not supported, only raw`);
  }
  if (!target) fail('no file or device is named');
  if (!dev) fail('no device name for the guest');
  const mode = (access || 'r').replace(/!$/, '');
  if (!ACCESS[mode]) fail(`mode ${access} is neither r nor w`);
  const shared = access!.endsWith('!');
  return {
    uname: uname(target),
    dev: dev!.replace(/^\/dev\//, ''),
    mode: ACCESS[mode]!,
    ...(shared ? { shared } : {}),
  };

  function uname(what: string): string {
    const prefix = FILE_PREFIXES.find((one) => what.startsWith(one));
    if (prefix) return `file:${path.resolve(cwd, what.slice(prefix.length))}`;
    if (what.startsWith('phy:')) return what;
    if (/^[a-z0-9]+:/.test(what)) fail(`the type ${what.split(':')[0]}: is not supported; file: and phy: are`);
    return what.startsWith('/dev/') ? `phy:${what}` : `file:${path.resolve(cwd, what)}`;
  }
}
