/**
 * What makes monitors start quickly, prepared once for each state of the sources: their files joined (monitor-program.ts), and Node's
 * compile cache of them (monitor/warm.ts). npm has it done when it has installed the packages (scripts/prepare.ts); where that was not
 * so, and when sources have changed, xend does it in the background when it starts.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { MONITOR_FLAGS } from './monitor-link.ts';
import { MONITOR, monitorProgram, preferJoined } from './monitor-program.ts';

const SOURCES = fileURLToPath(new URL('..', import.meta.url));
/** Below node_modules a program finds its packages. */
const PROGRAMS = path.join(SOURCES, '..', 'node_modules', '.cache', 'domus');
const JOIN = fileURLToPath(new URL('./monitor-program.ts', import.meta.url));
/** Joined programs of 1 MB. Domains that live longer than so many changes of the sources cannot be rebooted. */
const KEPT_MAX = 16;
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

/** Ends well or not: monitors start without what it makes, only slower. */
async function run(args: readonly string[]): Promise<boolean> {
  const child: ChildProcess = spawn(process.execPath, args, { cwd: '/', stdio: 'ignore' });
  if (child.pid !== undefined) os.setPriority(child.pid, LOW_PRIORITY);
  return (await once(child, 'exit').catch(() => [1]))[0] === 0;
}

/**
 * Decides at once which program monitors run from now on, as soon as it is there, and makes it unless nothing has changed. Resolves when
 * that is done or cannot be.
 */
export async function warmMonitors(): Promise<void> {
  const cache = process.env.NODE_COMPILE_CACHE;
  if (!cache) return;
  const stamp = stampOf();
  const program = path.join(PROGRAMS, `monitor-${stamp.slice(0, 16)}`);
  const inCheckout = MONITOR.endsWith('.ts');
  if (inCheckout) preferJoined(program);
  await prepare(path.join(cache, 'monitors-are-warm'), stamp, inCheckout ? program : undefined).catch(() => {});
}

async function prepare(mark: string, stamp: string, program: string | undefined): Promise<void> {
  if (program !== undefined && !existsSync(program)) {
    mkdirSync(PROGRAMS, { recursive: true });
    if (await run([JOIN, program])) removeOldest();
  } else if (existsSync(mark) && readFileSync(mark, 'utf8') === stamp) return;
  if (await run([...MONITOR_FLAGS, monitorProgram(), '--warm'])) writeFileSync(mark, stamp);
}

function removeOldest(): void {
  const age = (folder: string): number => statSync(folder).mtimeMs;
  const programs = readdirSync(PROGRAMS).filter((name) => name.startsWith('monitor-'));
  const folders = programs.map((name) => path.join(PROGRAMS, name)).toSorted((a, b) => age(b) - age(a));
  for (const folder of folders.slice(KEPT_MAX)) rmSync(folder, { recursive: true, force: true });
}
