/**
 * Something that runs the programs: this machine itself, or a guest on it. In each of them `programs/runner.c` waits for commands
 * on its console; this file speaks with it and does not believe its clock.
 */
import type { ChildProcess } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { ConsoleDriver } from '../lib/console-driver.ts';
import type { BenchDisk } from './disk.ts';
import type { Program } from './programs.ts';
import type { Row } from './report.ts';

export const SUBJECTS = ['native', 'domus', 'qemu', 'uml', 'v86'] as const;
export type SubjectName = (typeof SUBJECTS)[number];

export interface Timing {
  /** By the guest's clock, from the program's fork to its end. */
  readonly ms: number;
  /** The same by this machine's clock, with the way of command and answer through the console. */
  readonly hostMs: number;
  /** Processor time that this machine spent meanwhile, where it can be told. */
  readonly cpuMs: number | undefined;
  /** Length and hash of what the program printed. */
  readonly output: string;
  /** The console's text meanwhile: what the program said on standard error is in it. */
  readonly said: string;
}

export interface Subject {
  readonly name: SubjectName;
  /** Versions of what is measured. */
  readonly versions: Readonly<Record<string, string>>;
  /** Whether a program can be run there; any, if left out. */
  runs?(program: Program): boolean;
  run(program: Program): Promise<Timing>;
  /** What it can tell of itself after all programs. */
  measurements?(): Promise<readonly Row[]>;
  stop(): Promise<void>;
}

const ANSWER = /@ (\d+) (\d+) (\d+) (\d+) ([0-9a-f]{16})/;
const READY_S = 120;
const PROGRAM_S = 300;
/** A guest's clock may lag behind the host's by this much, console included, before its time is not believed. */
const SLACK_MS = 25;
const SLACK = 0.1;

export class Runner {
  readonly console: ConsoleDriver;
  readonly #cpu: () => number | undefined;
  readonly #ownCpu: boolean;

  /** `cpu` reads the processor time so far, ms; `ownCpu`: what the runner says about its child is this machine's time. */
  constructor(child: ChildProcess, { cpu = () => undefined as number | undefined, ownCpu = false } = {}) {
    this.console = new ConsoleDriver(child);
    this.#cpu = cpu;
    this.#ownCpu = ownCpu;
  }

  async ready(): Promise<void> {
    await this.console.until(/@ ready/, READY_S);
  }

  /** `words`: file for standard input, program, arguments, as the subject's file system has them. */
  async run(words: readonly string[]): Promise<Timing> {
    const before = this.#cpu();
    const started = performance.now();
    this.console.type(`${words.join(' ')}\n`);
    const said = await this.console.until(ANSWER, PROGRAM_S);
    const answer = ANSWER.exec(said)!;
    const hostMs = performance.now() - started;
    const after = this.#cpu();
    const [status, ns, cpuNs, bytes] = answer.slice(1, 5).map(Number) as [number, number, number, number];
    if (status !== 0) throw new Error(`${words[1]} ended with wait status ${status}\n${this.console.lastLines()}`);
    const cpuMs = this.#ownCpu ? cpuNs / 1e6 : before === undefined || after === undefined ? undefined : after - before;
    return { ms: believed(ns / 1e6, hostMs), hostMs, cpuMs, output: `${bytes} ${answer[5]}`, said };
  }
}

/** The guest's time, unless it is so far from the host's that its clock must be wrong: then the host's. */
export function believed(guestMs: number, hostMs: number): number {
  const apart = Math.abs(hostMs - guestMs);
  return apart <= SLACK_MS + SLACK * hostMs ? guestMs : hostMs;
}

/** Where the program is in the guest. */
export const guestWords = ({ command, input }: Program): string[] => {
  const [program, ...rest] = command as [string, ...string[]];
  return [input, program.includes('/') ? program : `/bench/${program}`, ...rest];
};

/** Processor milliseconds of a process's living threads, by the scheduler's own account. Linux. */
export function processCpuMs(pid: number): number | undefined {
  try {
    let ns = 0;
    for (const thread of readdirSync(`/proc/${pid}/task`)) {
      ns += Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'latin1').split(' ')[0]);
    }
    return ns / 1e6;
  } catch {
    return undefined;
  }
}

export type StartSubject = (disk: BenchDisk) => Promise<Subject>;
