/**
 * `node main.ts --compile FOLDER`: makes the regions that domains want for later ones in FOLDER, and machine code for all that have none (host/regions/kept-files.ts). A process of its own, as
 * V8 then compiles everything with its best compiler; under the flags of a monitor, as V8 takes code only under those that it was made with. It
 * ends when its standard input does: with the xend that wants it.
 */
import os from 'node:os';
import { compileKept, makeWanted, regionVersion, uncompiled, wantedFiles } from '../host/regions/kept-files.ts';
import { codeCanBeKept } from '../host/v8-code.ts';

const LOWEST_PRIORITY = 19;

export async function compile(folder: string): Promise<void> {
  os.setPriority(LOWEST_PRIORITY);
  process.stdin.on('end', () => process.exit(0)).resume();
  const version = regionVersion();
  for (;;) {
    const [kept] = codeCanBeKept() ? uncompiled(folder) : [];
    const [wanted] = wantedFiles(folder, version);
    // What was hot is needed first.
    if (kept !== undefined) compileKept(kept);
    else if (wanted !== undefined) makeWanted(folder, version, wanted);
    else break;
    // Time to hear of the end.
    await new Promise(setImmediate);
  }
  process.exit(0);
}
