/** Builds the programs in `programs/`: static, freestanding, by the machine's gcc; for i386 too, where v86 is measured. */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { onPath } from '../../src/guest/debian.ts';
import { Missing } from './missing.ts';

export const SOURCES = fileURLToPath(new URL('programs', import.meta.url));

const FLAGS = ['-O2', '-static', '-ffreestanding', '-nostdlib', '-fno-pie', '-no-pie', '-fno-stack-protector'];
/** The compiler's own loops for the copying that is to be measured would be calls. */
const AS_WRITTEN = ['-fno-tree-loop-distribute-patterns'];
const I386 = ['-m32', '-msse2', '-mfpmath=sse'];

export function gccVersion(): string {
  const { status, stdout } = spawnSync('gcc', ['-dumpfullversion'], { encoding: 'utf8' });
  if (status !== 0) throw new Missing('the programs are built by gcc, which is not installed (package gcc)');
  return stdout.trim();
}

/** Changes when a program or the way it is built does. */
export function sourcesKey(): string {
  const hash = createHash('sha256').update([...FLAGS, ...AS_WRITTEN, ...I386, gccVersion()].join(' '));
  for (const file of readdirSync(SOURCES).sort())
    hash.update(`\0${file}\0`).update(readFileSync(path.join(SOURCES, file)));
  return hash.digest('hex').slice(0, 12);
}

/** Every program of `programs/` into `folder`, which has to be there. */
export function buildPrograms(folder: string, { i386 = false } = {}): void {
  if (!onPath('gcc')) gccVersion();
  for (const source of readdirSync(SOURCES).filter((name) => name.endsWith('.c'))) {
    const target = path.join(folder, source.slice(0, -2));
    const flags = [...FLAGS, ...AS_WRITTEN, ...(i386 ? I386 : [])];
    const { status, stderr } = spawnSync('gcc', [...flags, '-o', target, path.join(SOURCES, source)], {
      encoding: 'utf8',
    });
    if (status !== 0) throw new Error(`gcc cannot build ${source}:\n${stderr}`);
  }
}
