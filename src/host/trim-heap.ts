/**
 * Gives garbage back to the system while a thread is idle. V8 collects the old generation when it has grown, not when its
 * owner falls asleep: an idle domain would keep the garbage of its boot for ever, and there may be a hundred of them.
 */
import v8 from 'node:v8';
import vm from 'node:vm';
import { threadCpuMs } from './thread-cpu.ts';

/** A heap is trimmed when it holds this much more than what was in use after the last collection. */
const SLACK_BYTES = 16 << 20;
/** Looks at the heap are this far apart, and cost some microseconds. */
const INTERVAL_MS = 3000;
/** A thread that worked for more than this part of the time since the last look is not idle yet: a guest that boots waits now and then. */
const BUSY_SHARE = 0.1;

/** The thread and its heap. */
export interface TrimPorts {
  now(): number;
  /** CPU time that this thread has used, in ms. */
  cpuMs(): number;
  heapBytes(): number;
  collect(): void;
}

/** Monitors are started with it: while a guest runs nothing is moved together. An idle thread has the time, and gives back whole pages only. */
const NO_COMPACTION = '--no-compact-with-stack';

type Collect = (options: { type: 'major'; flavor: 'last-resort' }) => void;
let collector: Collect | undefined;

export const thisThread: TrimPorts = {
  now: () => performance.now(),
  cpuMs: threadCpuMs,
  heapBytes: () => v8.getHeapStatistics().total_physical_size,
  collect: () => {
    if (collector === undefined) {
      // The function exists only under this flag; contexts made after it is set have it.
      v8.setFlagsFromString('--expose-gc');
      collector = vm.runInNewContext('gc') as Collect;
      // V8 takes code that was kept in files only under the flags that it was made under.
      v8.setFlagsFromString('--no-expose-gc');
    }
    const moves = !process.execArgv.includes(NO_COMPACTION);
    if (!moves) v8.setFlagsFromString('--compact-with-stack');
    // Other flavours keep the freed pages in a pool, which is emptied by tasks that a blocked thread never runs.
    collector({ type: 'major', flavor: 'last-resort' });
    if (!moves) v8.setFlagsFromString(NO_COMPACTION);
  },
};

/** A function to call whenever the thread is about to wait. It collects garbage when that is worth its time (some 50 ms). */
export function heapTrimmer({ now, cpuMs, heapBytes, collect } = thisThread): () => void {
  let looked = now();
  let worked = cpuMs();
  let kept = 0;
  return () => {
    const elapsed = now() - looked;
    if (elapsed < INTERVAL_MS) return;
    const used = cpuMs() - worked;
    looked += elapsed;
    worked += used;
    if (used > BUSY_SHARE * elapsed || heapBytes() < kept + SLACK_BYTES) return;
    collect();
    kept = heapBytes();
  };
}
