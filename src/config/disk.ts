/**
 * Disk strings of configuration files: the classic TYPE:WHAT,DEVICE,MODE of xm-xend 3.1 with its later prefixes, and what of
 * xl's TARGET,FORMAT,DEVICE,ACCESS with keys (3.5) means the same.
 */
import path from 'node:path';
import { ConfigError } from './config-error.ts';
import type { Disk } from './domain-config.ts';

export class DiskFormError extends ConfigError {}

/** Later prefixes for "a raw image behind a file". */
const FILE_PREFIXES = ['file:', 'tap:aio:', 'tap2:aio:', 'tap:', 'tap2:', 'aio:', 'raw:'];
const ACCESS: Readonly<Record<string, 'r' | 'w'>> = { r: 'r', ro: 'r', w: 'w', rw: 'w' };
/** Words of xl's that change nothing for a raw image. */
const FLAGS = ['direct-io-safe', 'discard', 'no-discard'];
/** What fields without a name are, in their order. */
const PLACES = ['target', 'format', 'dev', 'access'] as const;
const WANTED = 'TYPE:WHAT,DEVICE,MODE is wanted';

/** What the string says, not judged yet. */
interface Said {
  target?: string;
  format?: string;
  dev?: string;
  access?: string;
  backend?: string;
  cdrom?: boolean;
}

export function parseDisk(text: string, cwd: string): Disk {
  const fail = (why: string): never => {
    throw new DiskFormError(`Invalid disk specifier: ${text} (${why})`);
  };
  const classic = /^\s*[a-z0-9]+:/.test(text) && !/(^|,)\s*(target|vdev|access|format)=/.test(text);
  const said = classic ? classicForm(text, fail) : xlForm(text, fail);
  if (said.format && said.format !== 'raw') fail(`image format ${said.format} is not supported, only raw`);
  if (!said.target) fail('no file or device is named');
  const [, dev, kind] = /^(?:ioemu:)?(.*?)(:disk|:cdrom)?$/.exec(said.dev ?? '')!;
  if (!dev) fail(said.dev === undefined && classic ? WANTED : 'no device name for the guest');
  if (said.backend && !['0', 'Domain-0'].includes(said.backend)) fail('driver domains are not supported');
  const cdrom = said.cdrom || kind === ':cdrom';
  const access = said.access || (classic || cdrom ? 'r' : 'rw');
  const mode = ACCESS[access.replace(/!$/, '')] ?? fail(`mode ${access} is neither r nor w`);
  return {
    uname: uname(said.target!, cwd, fail),
    dev: dev!.replace(/^\/dev\//, ''),
    mode: cdrom ? 'r' : mode,
    ...(access.endsWith('!') ? { shared: true } : {}),
  };
}

/** Three or four fields. */
function classicForm(text: string, fail: (why: string) => never): Said {
  const [target, dev, access, backend, ...more] = text.split(',').map((field) => field.trim());
  if (access === undefined || more.length > 0) fail(WANTED);
  return { target, dev, access, backend };
}

/** Fields by their place or by their name; target= swallows the rest of the string. */
function xlForm(text: string, fail: (why: string) => never): Said {
  const said: Said = {};
  const swallowed = /(?:^|,)\s*target=(.*)$/s.exec(text);
  if (swallowed) said.target = swallowed[1]!.trim();
  const rest = swallowed ? text.slice(0, swallowed.index) : text;
  for (const field of rest === '' ? [] : rest.split(',').map((one) => one.trim())) {
    const [, key, value] = /^([a-z-]+)=(.*)$/.exec(field) ?? [];
    if (key === 'format' || key === 'access' || key === 'backend') said[key] = value!;
    else if (key === 'vdev') said.dev = value!;
    else if (key === 'devtype') said.cdrom = value === 'cdrom';
    else if (key === 'backendtype' || FLAGS.includes(field)) continue;
    else if (key !== undefined) fail(`the key ${key} is not known`);
    else if (field === 'cdrom') said.cdrom = true;
    else said[PLACES.find((place) => said[place] === undefined) ?? fail(`${field} has no place in it`)] = field;
  }
  if (said.dev === undefined && !swallowed && said.target !== undefined) fail(WANTED);
  return said;
}

function uname(what: string, cwd: string, fail: (why: string) => never): string {
  const prefix = FILE_PREFIXES.find((one) => what.startsWith(one));
  if (prefix) return `file:${path.resolve(cwd, what.slice(prefix.length))}`;
  if (what.startsWith('phy:')) return what;
  if (/^[a-z0-9]+:/.test(what)) fail(`the type ${what.split(':')[0]}: is not supported; file: and phy: are`);
  return what.startsWith('/dev/') ? `phy:${what}` : `file:${path.resolve(cwd, what)}`;
}
