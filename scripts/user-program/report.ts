/** What a run has cost and done, for people: lines on stderr, so that stdout is the program's alone. */
import { UserSpace } from '../../src/guest/user-symbols.ts';
import type { WatchedRegions } from '../../src/host/regions/watched.ts';
import { ROOT_FRAME } from './address-space.ts';
import type { Machine } from './machine.ts';

/** Milliseconds since the beginning: of the wall's clock, of all threads' and of this thread's CPU time. */
export interface Times {
  readonly wall: number;
  readonly cpu: number;
  readonly thread: number;
}

export function timesNow(): Times {
  const ms = ({ user, system }: NodeJS.CpuUsage): number => (user + system) / 1000;
  return { wall: performance.now(), cpu: ms(process.cpuUsage()), thread: ms(process.threadCpuUsage()) };
}

/** From `before` to `after`: the other threads are V8's, compiling. */
export function timesLine(before: Times, after: Times): string {
  const ms = (key: keyof Times): string => `${Math.round(after[key] - before[key])} ms`;
  return `wall ${ms('wall')}, CPU ${ms('cpu')}, of it ${ms('thread')} on the program's own thread`;
}

export function statisticsLines({ exits, engine }: Machine): string[] {
  const counts = [...exits].sort(([, a], [, b]) => b - a).map(([name, count]) => row(count, name));
  const statistics = Object.entries(engine.statistics).map(([name, value]) => row(Math.round(value * 10) / 10, name));
  return ['exits:', ...counts, 'engine:', ...statistics];
}

/** The `most` regions that control came to most often from outside; their names are of what is still in memory at the end. */
export function regionLines({ memory }: Machine, watched: WatchedRegions, most: number): string[] {
  const symbols = new UserSpace(memory.u8.subarray(memory.layout.ramBase), ROOT_FRAME);
  const lines = watched
    .views(most, () => 0)
    .map(({ address, executions, instructions, blocks, entries }) => {
      const symbol = symbols.symbolAt(BigInt(`0x${address}`));
      const name = symbol ? `${symbol.name}+${symbol.offset.toString(16)}` : '';
      return `${row(executions, address)} ${[instructions, blocks, entries].map((n) => String(n).padStart(7)).join('')}  ${name}`;
    });
  return [`${row('entered', 'address'.padEnd(16))}   insns blocks entries`, ...lines];
}

function row(count: number | string, name: string): string {
  return `${String(count).padStart(12)}  ${name}`;
}
