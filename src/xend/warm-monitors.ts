/** When xend starts, it has the compile cache of Node made that all monitors load their code from (monitor/warm.ts). */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { MONITOR, MONITOR_FLAGS } from './monitor-link.ts';

const SOURCES = fileURLToPath(new URL('..', import.meta.url));
const LOW_PRIORITY = 10;

/** Names, sizes and times of all sources, and Node's version: whoever loads them would load the same. */
function stampOf(): string {
  const hash = createHash('sha256').update(process.version);
  for (const name of readdirSync(SOURCES, { recursive: true, encoding: 'utf8' }).sort()) {
    const { size, mtimeMs } = statSync(path.join(SOURCES, name));
    hash.update(`${name} ${size} ${mtimeMs}\n`);
  }
  return hash.digest('hex');
}

/** Returns at once; the work is done in the background, and not again until the sources change. */
export function warmMonitors(): void {
  const cache = process.env.NODE_COMPILE_CACHE;
  if (!cache) return;
  const file = path.join(cache, 'monitors-are-warm');
  const stamp = stampOf();
  try {
    if (readFileSync(file, 'utf8') === stamp) return;
  } catch {
    // Not yet.
  }
  const child = spawn(process.execPath, [...MONITOR_FLAGS, MONITOR, '--warm'], { cwd: '/', stdio: 'ignore' });
  child.on('error', () => {}); // Monitors start without it, only slower.
  child.on('exit', (code) => {
    if (code !== 0) return;
    try {
      writeFileSync(file, stamp);
    } catch {
      return; // A full disk: the next xend tries again.
    }
  });
  child.unref();
  if (child.pid !== undefined) os.setPriority(child.pid, LOW_PRIORITY);
}
