/**
 * All commands of xm. A new one: a file of its own or of its family beside this one, a line here for the import and one in
 * the list, a row in ../wrong-input.test.ts if its arguments can be wrong in ways of their own. Help follows.
 */
import type { Command } from '../command.ts';
import { dumpCore, rename, sysrq, trigger } from './ask.ts';
import { blockAttach, blockDetach, blockList, vbdCreate, vbdDestroy, vbdList } from './block.ts';
import { call } from './call.ts';
import { completion } from './completion.ts';
import { consoleCommand, consoles } from './console.ts';
import { cp } from './cp.ts';
import { create } from './create.ts';
import { destroy } from './destroy.ts';
import { exec } from './exec.ts';
import { help } from './help.ts';
import { info } from './info.ts';
import { list } from './list.ts';
import { dmesg, log } from './log.ts';
import { domid, domname } from './names.ts';
import { pause, unpause } from './pause.ts';
import { profile } from './profile.ts';
import { pincpu, schedCredit, vcpuList, vcpuPin } from './scheduling.ts';
import { schema } from './schema.ts';
import { reboot, shutdown } from './shutdown.ts';
import { top } from './top.ts';
import { uptime, vmList } from './uptime.ts';

// biome-ignore format: one line a file
export const COMMANDS: readonly Command[] = [
  blockAttach, blockDetach, blockList, vbdCreate, vbdDestroy, vbdList,
  dumpCore, rename, sysrq, trigger,
  pincpu, schedCredit, vcpuList, vcpuPin,
  call,
  completion,
  consoleCommand, consoles,
  create,
  cp,
  destroy,
  exec,
  help,
  info,
  list,
  dmesg, log,
  domid, domname,
  pause, unpause,
  profile,
  reboot, shutdown,
  schema,
  top,
  uptime, vmList,
];
