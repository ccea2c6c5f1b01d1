/** What an administrator may set of xendomains: variables of the environment, or of a file in the shell's notation. */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import type { Paths } from '../host/paths.ts';

/** By later xendomains scripts' names (xm-xend 6.4), with what they mean here. */
// biome-ignore format: a table
export const SETTINGS = {
  XENDOMAINS_AUTO:          'the folder of configuration files; /etc/xen/auto',
  XENDOMAINS_AUTO_ONLY:     'true: stop only the domains of that folder; false, as in Xen 2.0: all',
  XENDOMAINS_STOP_MAXWAIT:  'seconds that each domain is given to shut down; 300',
  XENDOMAINS_STOP_FORCE:    'true: destroy what has not shut down by then; false',
  XENDOMAINS_SYSRQ:         'SysRq letters to send before, with a blank between them',
  XENDOMAINS_CREATE_USLEEP: 'microseconds to wait after each domain that was started; 0',
  XENDOMAINS_SAVE:          'not possible yet: domains are shut down',
  XENDOMAINS_RESTORE:       'not possible yet',
  XENDOMAINS_MIGRATE:       'not possible yet: domains are shut down',
} as const;
type Name = keyof typeof SETTINGS;

export interface Settings {
  readonly auto: string;
  readonly autoOnly: boolean;
  readonly maxWaitS: number;
  readonly force: boolean;
  readonly sysrq: readonly string[];
  readonly createPauseMs: number;
  /** Asked for and not possible. */
  readonly missing: readonly string[];
}

/** Where Debian and where Red Hat keep such files. */
const FILES = ['/etc/default/xendomains', '/etc/sysconfig/xendomains'];

export function readSettings(paths: Paths, env: NodeJS.ProcessEnv = process.env): Settings {
  const files = paths.etc === '/etc/xen' ? FILES : [path.join(paths.etc, 'xendomains')];
  const set = new Map(files.flatMap(assignments));
  const value = (name: Name): string => env[name] ?? set.get(name) ?? '';
  const yes = (name: Name) => /^(true|yes|1|on)$/i.test(value(name));
  const number = (name: Name, usual: number) => (/^\d+$/.test(value(name)) ? Number(value(name)) : usual);
  const later: Name[] = ['XENDOMAINS_SAVE', 'XENDOMAINS_MIGRATE'];
  return {
    auto: value('XENDOMAINS_AUTO') || path.join(paths.etc, 'auto'),
    autoOnly: yes('XENDOMAINS_AUTO_ONLY'),
    maxWaitS: number('XENDOMAINS_STOP_MAXWAIT', 300),
    force: yes('XENDOMAINS_STOP_FORCE'),
    sysrq: value('XENDOMAINS_SYSRQ').split(/\s+/).filter(Boolean),
    createPauseMs: number('XENDOMAINS_CREATE_USLEEP', 0) / 1000,
    missing: later.filter((name) => value(name) !== ''),
  };
}

/** NAME=VALUE lines; quotes around a value are taken away. The rest of the shell's language is not understood. */
function assignments(file: string): [string, string][] {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch {
    return []; // It need not be there.
  }
  return [...text.matchAll(/^\s*(?:export\s+)?(\w+)=("[^"\n]*"|'[^'\n]*'|[^\s#]*)/gm)].map(([, name, value]) => [
    name!,
    value!.replace(/^(["'])(.*)\1$/, '$2'),
  ]);
}
