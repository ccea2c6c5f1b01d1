/**
 * Where the commands of xm are: which file has which, by name, so that running one loads nothing of the others. A new one: a
 * file of its own or of its family beside this one, its name in the table, a row in ../wrong-input.test.ts if its arguments can
 * be wrong in ways of their own. Help follows.
 */
import type { Command } from '../command.ts';

type Load = () => Promise<object>;

/** Names as typed, a command's aliases behind an equals sign. */
// biome-ignore format: a table
const FILES: readonly (readonly [names: string, load: Load])[] = [
  ['block-attach block-detach block-list vbd-create vbd-destroy vbd-list', () => import('./block.ts')],
  ['dump-core rename sysrq trigger',              () => import('./ask.ts')],
  ['pincpu sched-credit vcpu-list vcpu-pin',      () => import('./scheduling.ts')],
  ['call',                                        () => import('./call.ts')],
  ['channel-list',                                () => import('./channel.ts')],
  ['completion',                                  () => import('./completion.ts')],
  ['console consoles',                            () => import('./console.ts')],
  ['create',                                      () => import('./create.ts')],
  ['cp',                                          () => import('./cp.ts')],
  ['destroy',                                     () => import('./destroy.ts')],
  ['exec',                                        () => import('./exec.ts')],
  ['help',                                        () => import('./help.ts')],
  ['info',                                        () => import('./info.ts')],
  ['list',                                        () => import('./list.ts')],
  ['dmesg log',                                   () => import('./log.ts')],
  ['balloon=mem-set maxmem=mem-max vcpu-set',     () => import('./memory.ts')],
  ['domid domname',                               () => import('./names.ts')],
  ['pause unpause',                               () => import('./pause.ts')],
  ['profile',                                     () => import('./profile.ts')],
  ['reboot shutdown',                             () => import('./shutdown.ts')],
  ['schema',                                      () => import('./schema.ts')],
  ['top=xentop',                                  () => import('./top.ts')],
  ['uptime vm-list',                              () => import('./uptime.ts')],
];

export interface Entry {
  /** The command's name, then its aliases. */
  readonly names: readonly string[];
  load(): Promise<Command>;
}

export const ENTRIES: readonly Entry[] = FILES.flatMap(([words, load]) =>
  words.split(' ').map((word) => {
    const names = word.split('=');
    return { names, load: async () => commandsIn(await load()).find(({ name }) => name === names[0])! };
  }),
);

/** All commands that a file exports. */
export function commandsIn(module: object): Command[] {
  return Object.values(module).filter((value: unknown): value is Command => {
    return typeof value === 'object' && value !== null && 'summary' in value && 'run' in value;
  });
}

/** For what is about all of them: help, completion, the manual. */
export function allCommands(): Promise<readonly Command[]> {
  return Promise.all(ENTRIES.map((entry) => entry.load()));
}
