/**
 * In which order the domains of /etc/xen/auto start and stop. A configuration file says what it wants in a comment, which
 * every other tool passes over:
 *
 *     # xendomains: order=10 delay=5 after=db,nfs
 *
 * order   smaller ones first; 50 when not given, and among equals by file name, as Xen 2.0 has it
 * delay   seconds to wait after this one, before the next
 * after   domains or files that must be started before; if one of them could not be, this one is not
 *
 * They stop the other way round: first those that others do not need.
 */
export interface Entry {
  /** The file's name in the folder. */
  readonly file: string;
  /** The domain's name. */
  readonly name: string;
  readonly order: number;
  readonly delayS: number;
  readonly after: readonly string[];
}

export type Wishes = Pick<Entry, 'order' | 'delayS' | 'after'>;

export class PlanError extends Error {}

const ORDER_USUAL = 50;

/** What the comment of a configuration file says. */
export function readWishes(text: string): Wishes {
  const wishes = { order: ORDER_USUAL, delayS: 0, after: [] as string[] };
  for (const [, words] of text.matchAll(/^[ \t]*#[ \t]*xendomains:(.*)$/gm)) {
    for (const word of words!.trim().split(/\s+/).filter(Boolean)) {
      const [key, value = ''] = word.split('=', 2) as [string, string?];
      if (key === 'after') wishes.after.push(...value.split(',').filter(Boolean));
      else if (key === 'order' && /^-?\d+$/.test(value)) wishes.order = Number(value);
      else if (key === 'delay' && /^\d+(\.\d+)?$/.test(value)) wishes.delayS = Number(value);
      else
        throw new PlanError(`"xendomains: ${word}" is not understood: order=N, delay=SECONDS and after=NAME,... are`);
    }
  }
  return wishes;
}

const needs = (entry: Entry, other: Entry): boolean =>
  entry !== other && (entry.after.includes(other.name) || entry.after.includes(other.file));

export interface Turn {
  readonly entry: Entry;
  /** Why it cannot be started. */
  readonly problem?: string;
}

/** All entries in an order in which what is needed comes first. */
export function startOrder(entries: readonly Entry[]): Turn[] {
  const waiting = [...entries].sort((a, b) => a.order - b.order || (a.file < b.file ? -1 : 1));
  const turns: Turn[] = [];
  while (waiting.length > 0) {
    const at = waiting.findIndex((one) => !waiting.some((other) => needs(one, other)));
    if (at < 0) {
      const problem = `these wait for each other: ${waiting.map(({ file }) => file).join(', ')}`;
      turns.push(...waiting.splice(0).map((entry) => ({ entry, problem })));
      break;
    }
    const entry = waiting.splice(at, 1)[0]!;
    const missing = entry.after.find((one) => !entries.some(({ name, file }) => one === name || one === file));
    turns.push(missing === undefined ? { entry } : { entry, problem: `${missing}, which it needs, is not there` });
  }
  return turns;
}

/** Groups that can stop together, one group after the other: none is needed by one that is still there. */
export function stopWaves(entries: readonly Entry[]): Entry[][] {
  const there = new Set(entries);
  const waves: Entry[][] = [];
  while (there.size > 0) {
    const wave = [...there].filter((one) => ![...there].some((other) => needs(other, one)));
    // A circle, which would not have started either: then all at once.
    if (wave.length === 0) wave.push(...there);
    for (const one of wave) there.delete(one);
    waves.push(wave);
  }
  return waves;
}

/** Those that an entry needs, directly. */
export const needed = (entry: Entry, entries: readonly Entry[]): Entry[] =>
  entries.filter((other) => needs(entry, other));
