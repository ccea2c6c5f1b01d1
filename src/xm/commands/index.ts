/** All commands of xm. */
import { type Command, command } from '../command.ts';
import { consoleCommand } from './console.ts';
import { create } from './create.ts';
import { list } from './list.ts';
import { reboot, shutdown } from './shutdown.ts';
import { destroy, dmesg, domid, domname, info, log, pause, unpause } from './simple.ts';

/** Here for its row in the overview; the runner answers it, because it is about the others. */
const help = command({
  name: 'help',
  group: 'general',
  usage: '[CMD]',
  summary: 'Print help, of all commands or of one',
  args: [0, 1],
  async run() {},
});

export const COMMANDS: readonly Command[] = [
  help,
  consoleCommand,
  create,
  destroy,
  domid,
  domname,
  list,
  pause,
  reboot,
  shutdown,
  unpause,
  dmesg,
  info,
  log,
];
