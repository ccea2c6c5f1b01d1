/**
 * `node main.ts --compile FOLDER`: machine code for all regions in FOLDER that have none (host/regions/kept.ts). A process of its own, as
 * V8 then compiles everything with its best compiler; under the flags of a monitor, as V8 takes code only under those that it was made with. It
 * ends when its standard input does: with the xend that wants it.
 */
import os from 'node:os';
import { compileKept, uncompiled } from '../host/regions/kept-files.ts';
import { codeCanBeKept } from '../host/v8-code.ts';

const LOWEST_PRIORITY = 19;

export async function compile(folder: string): Promise<void> {
  if (!codeCanBeKept()) process.exit(0);
  os.setPriority(LOWEST_PRIORITY);
  process.stdin.on('end', () => process.exit(0)).resume();
  for (let files = uncompiled(folder); files.length > 0; files = uncompiled(folder)) {
    compileKept(files[0]!);
    // Time to hear of the end.
    await new Promise(setImmediate);
  }
  process.exit(0);
}
