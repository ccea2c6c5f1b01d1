/**
 * xend's own configuration, `xend-config.sxp` (xm-xend 5.2): one `(key value)` a setting, every key with a default, so the
 * file may be missing. A value that cannot be is an error; a key that nobody knows is a warning.
 */
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { parseSxp, type Sxp } from '../config/sxp.ts';
import type { Paths } from '../host/paths.ts';
import { LEVELS, type Level } from './log.ts';

interface Key<T> {
  readonly initial: T;
  /** Throws what is wrong with the word. */
  read(word: string): T;
  readonly about: string;
}

const text = (initial: string, about: string): Key<string> => ({ initial, read: (word) => word, about });
const oneOf = <T extends string>(initial: T, words: readonly T[], about: string): Key<T> => ({
  initial,
  read(word) {
    const found = words.find((one) => one.toLowerCase() === word.toLowerCase());
    if (found === undefined) throw new Error(`it must be ${words.join(' or ')}`);
    return found;
  },
  about,
});
const TRUE = ['yes', '1', 'on', 'true'];
const FALSE = ['no', '0', 'off', 'false'];
const yesNo = (initial: boolean, about: string): Key<boolean> => ({
  initial,
  read(word) {
    const known = TRUE.includes(word.toLowerCase()) || FALSE.includes(word.toLowerCase());
    if (!known) throw new Error('it must be yes or no');
    return TRUE.includes(word.toLowerCase());
  },
  about,
});
const port = (initial: number, about: string): Key<number> => ({
  initial,
  read(word) {
    if (!/^\d+$/.test(word) || Number(word) > 65535) throw new Error('it must be a port, 0 to 65535');
    return Number(word);
  },
  about,
});

/** An empty path means the place named in the last column. */
// biome-ignore format: a table
export const XEND_KEYS = {
  'xend-http-server':  yesNo(false, 'serve on TCP as well as on the Unix socket'),
  'xend-address':      text('localhost', "TCP: where to listen; '' is every interface, which needs TLS and a token"),
  'xend-port':         port(8000, 'TCP: the port; 0 is any that is free'),
  'xend-tls-cert':     text('', 'TCP: the certificate, PEM'),
  'xend-tls-key':      text('', 'TCP: its key, PEM'),
  'xend-token-file':   text('', 'TCP: the file with the token that clients show; made when missing (LIB/api-token)'),
  'xend-unix-server':  yesNo(true, 'serve on the socket where clients of the old xend look'),
  'xend-unix-path':    text('', 'that socket (LIB/xend-socket)'),
  'console-address':   text('localhost', 'where the consoles\' ports listen'),
  'console-port-base': port(9600, 'the console of domain N is on this port plus N'),
  'enable-dump':       yesNo(false, 'a core of every domain that crashes, in LIB/dump, whatever its on_crash says'),
  'logfile':           text('', 'the log (LOG/xend.log)'),
  'loglevel':          oneOf<Level>('DEBUG', LEVELS, 'what is not worth a line in it'),
  'log-format':        oneOf('text', ['text', 'json'] as const, 'lines for people, or one JSON object a line'),
} as const;

/** Keys of the original and of its successors that have no meaning here, or none yet: to set one is told in the log. */
const ACCEPTED = new Set(
  'xend-event-port network-script vif-bridge vif-script vif-antispoof block-file block-enbd dbroot xend-relocation-server xend-relocation-port xend-relocation-address xend-relocation-hosts-allow console-limit dom0-min-mem dom0-cpus external-migration-tool vnc-listen xend-tcp-xmlrpc-server xend-unix-xmlrpc-server'.split(
    ' ',
  ),
);

type Keys = typeof XEND_KEYS;
export type XendConfig = { readonly [K in keyof Keys]: Keys[K] extends Key<infer T> ? T : never };

const usualFile = (paths: Paths): string => path.join(paths.etc, 'xend-config.sxp');
export const xendConfigFile = (paths: Paths, env: NodeJS.ProcessEnv = process.env): string =>
  env.XEND_CONFIG ? path.resolve(env.XEND_CONFIG) : usualFile(paths);

export class XendConfigError extends Error {}

/** Reads the file, or takes all defaults when there is none. Throws a XendConfigError of one line. */
export function loadXendConfig(file: string, paths: Paths, warn: (text: string) => void): XendConfig {
  let source = '';
  try {
    source = readFileSync(file, 'utf8');
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === 'EISDIR') throw new XendConfigError(`${file}: it is a folder`);
    if (code !== 'ENOENT' && code !== 'ENOTDIR') throw new XendConfigError(`${file}: ${message}`);
    if (file !== usualFile(paths)) warn(`${file}: no such file: every setting has its default`);
  }
  const settings = new Map(Object.entries(XEND_KEYS).map(([key, { initial }]) => [key, initial as unknown]));
  const idle: string[] = [];
  for (const [key, word] of pairs(file, source)) {
    const row = Object.hasOwn(XEND_KEYS, key) ? (XEND_KEYS as Record<string, Key<unknown>>)[key] : undefined;
    if (!row) {
      if (ACCEPTED.has(key)) idle.push(key);
      else warn(`${file}: unknown setting ${key}`);
      continue;
    }
    try {
      settings.set(key, row.read(word));
    } catch (error) {
      throw new XendConfigError(`${file}: ${key} is ${JSON.stringify(word)}: ${(error as Error).message}`);
    }
  }
  if (idle.length > 0) warn(`${file}: without effect here: ${idle.join(', ')}`);
  const config = Object.fromEntries(settings) as XendConfig;
  const logFolder = path.dirname(path.resolve(config.logfile));
  if (config.logfile && !existsSync(logFolder))
    throw new XendConfigError(`${file}: logfile is ${JSON.stringify(config.logfile)}: there is no folder ${logFolder}`);
  return {
    ...config,
    'xend-token-file': config['xend-token-file'] || path.join(paths.lib, 'api-token'),
    'xend-unix-path': config['xend-unix-path'] || path.join(paths.lib, 'xend-socket'),
    logfile: config.logfile || path.join(paths.log, 'xend.log'),
  };
}

function pairs(file: string, source: string): [key: string, word: string][] {
  let forms: Sxp[];
  try {
    forms = parseSxp(source);
  } catch (error) {
    throw new XendConfigError(`${file}:${(error as Error).message}`);
  }
  return forms.map((form) => {
    if (!Array.isArray(form) || form.length > 2 || form.some((item) => Array.isArray(item)))
      throw new XendConfigError(`${file}: a setting is written (KEY VALUE)`);
    return [String(form[0]), String(form[1] ?? '')];
  });
}
