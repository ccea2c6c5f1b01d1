/** Files that are there whole or not at all, whatever ends this process: written beside their place, then moved to it. */
import { renameSync, rmSync, writeFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';

/** What a draft's name ends in: one whose writer was killed may be removed by whoever looks after the folder. */
export const DRAFT = '.new';

/** Its owner's alone, unless `mode` says other. Throws what the system says; then what was at that place before is there still, and no draft. */
export function writeAtomically(file: string, content: string | Uint8Array, mode = 0o600): void {
  const draft = `${file}.${process.pid}${DRAFT}`;
  try {
    writeFileSync(draft, content, { mode });
    renameSync(draft, file);
  } catch (error) {
    rmSync(draft, { force: true });
    throw error;
  }
}

/** As writeAtomically, while this thread does something else. */
export async function writeMeanwhile(file: string, content: Uint8Array, mode = 0o600): Promise<void> {
  const draft = `${file}.${process.pid}${DRAFT}`;
  try {
    await writeFile(draft, content, { mode });
    renameSync(draft, file);
  } catch (error) {
    rmSync(draft, { force: true });
    throw error;
  }
}
