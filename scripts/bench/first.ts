/**
 * The first time: what a program takes in a domain of a xend that has never run it, so that nothing of it has been translated yet. What is
 * kept of it then (src/host/regions/kept.ts) is there at all later runs, as it is for users: those are measured beside the others.
 */
import { existsSync, readdirSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { regionsDir } from '../../src/host/paths.ts';
import { codeCanBeKept } from '../../src/host/v8-code.ts';
import type { OwnXend } from '../lib/own-xend.ts';
import type { Program } from './programs.ts';
import type { Subject } from './subject.ts';

const MADE_S = 240;
const LOOK_MS = 500;
/** Nothing has come for so long: xend waits for less before it has machine code made. */
const LOOKS_ALIKE = 8;
/** In so long a guest that has nothing to do plans what later ones are to have. */
export const IDLE_MS = 3000;

/** Milliseconds of the first of `rounds` runs of each program; one that fails has none, and will fail again where it is told. */
export async function firstTimes(
  subject: Subject,
  programs: readonly Program[],
  rounds: number,
): Promise<Map<string, number>> {
  const times = new Map<string, number>();
  for (const program of programs) {
    try {
      for (let round = 0; round < rounds; round++) {
        const { ms } = await subject.run(program);
        if (round === 0) times.set(program.id, ms);
      }
    } catch {
      times.delete(program.id);
    }
  }
  await sleep(IDLE_MS);
  return times;
}

/** Waits until there is machine code for all regions that are kept. False when that takes too long. */
export async function codeIsMade(xend: OwnXend): Promise<boolean> {
  if (!codeCanBeKept()) return true;
  const folder = regionsDir(xend.paths.lib);
  let before = '';
  for (let looks = 0, alike = 0; looks < (1000 * MADE_S) / LOOK_MS; looks++) {
    await sleep(LOOK_MS);
    const names = existsSync(folder) ? readdirSync(folder).sort() : [];
    const stems = names.filter((name) => name.endsWith('.regions')).map((name) => name.replace('.regions', '.'));
    const isMade =
      !names.some((name) => name.endsWith('.wanted')) &&
      stems.every((stem) => names.some((name) => name.startsWith(stem) && name.endsWith('.code')));
    const now = names.join();
    alike = now === before && isMade ? alike + 1 : 0;
    if (alike === LOOKS_ALIKE) return true;
    before = now;
  }
  return false;
}
