/**
 * The parent's side of the oracle: start the child process, send it batches of cases, get outcomes back. When a case kills or
 * hangs the child, a new one is started and the batch goes through again case by case, so that the culprit alone is DIED or ENDLESS.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import {
  CASE,
  CODE_OFFSET,
  CODE_SIZE,
  DATA_OFFSET,
  DATA_SIZE,
  DIED,
  ENDLESS,
  GIVEN_UP,
  HIGH_BASE,
  LOW_BASE,
  OUTCOME,
} from './layout.ts';

/** Processor time for a batch, and for a case alone: by the clock, a busy machine would end cases that are healthy. */
const BATCH_CPU_MS = 3_000;
const CASE_CPU_MS = 500;
const LOOK_MS = 100;
/** For a child that waits for something. */
const STUCK_MS = 300_000;
/** After so many dead processes in one batch its remaining cases are given up: where no case lives, it is not for their sake. */
const DEATHS = 20;
const STARTS = 4;

/** Why this machine cannot be an oracle, or undefined when it can. */
export function oracleMissing(): string | undefined {
  if (process.platform !== 'linux' || process.arch !== 'x64') return 'the CPU oracle needs Linux on x86-64';
  try {
    createRequire(import.meta.url)('koffi');
  } catch {
    return 'the CPU oracle needs the optional package koffi';
  }
  // The stub loads the guest's FS and GS bases itself (AT_HWCAP2 bit 1 says the same).
  if (!/^flags\s*:.*\bfsgsbase\b/m.test(readFileSync('/proc/cpuinfo', 'utf8'))) return 'the CPU oracle needs FSGSBASE';
  return undefined;
}

/** CPUID features of the host as Linux names them. */
export function hostFeatures(): Set<string> {
  return new Set(/^flags\s*:(.*)$/m.exec(readFileSync('/proc/cpuinfo', 'utf8'))?.[1]?.trim().split(' '));
}

export function hostVendor(): string {
  return /^vendor_id\s*:\s*(\S+)/m.exec(readFileSync('/proc/cpuinfo', 'utf8'))?.[1] ?? 'unknown';
}

/** Ranges [from, to) of addresses that are mapped in a process, as doubles: exact below 2^53, near enough above. */
function mappedRanges(pid: number): [number, number][] {
  const lines = readFileSync(`/proc/${pid}/maps`, 'latin1').matchAll(/^([0-9a-f]+)-([0-9a-f]+) /gm);
  return [...lines].map(([, from, to]) => [Number(`0x${from}`), Number(`0x${to}`)]);
}

/** Is this an address of the pages that a case has? */
const isGuestPage = (address: number): boolean =>
  [LOW_BASE, HIGH_BASE].some(
    (base) =>
      (address >= base + CODE_OFFSET && address < base + CODE_OFFSET + CODE_SIZE) ||
      (address >= base + DATA_OFFSET && address < base + DATA_OFFSET + DATA_SIZE),
  );

/** Processor time of its main thread, which runs the cases; 0 when it has ended. */
function cpuMs({ pid }: ChildProcess): number {
  try {
    return Number(readFileSync(`/proc/${pid}/schedstat`, 'latin1').split(' ')[0]) / 1e6;
  } catch {
    return 0;
  }
}

export class Oracle {
  #child: ChildProcess | undefined;
  #waiting: { target: Uint8Array; filled: number; done: () => void; failed: (error: Error) => void } | undefined;
  #lastWords = '';
  /** Was the last child that ended killed because it took too long? */
  #overran = false;

  /** Run `count` cases; the outcomes are in the same order. */
  async run(cases: Uint8Array, count: number): Promise<Uint8Array> {
    const outcomes = new Uint8Array(count * OUTCOME.size);
    try {
      await this.#exchange(cases.subarray(0, count * CASE.size), count, outcomes);
    } catch {
      let deaths = 0;
      for (let i = 0; i < count; i++) {
        const outcome = outcomes.subarray(i * OUTCOME.size, (i + 1) * OUTCOME.size);
        let vector: number | undefined = GIVEN_UP;
        if (deaths < DEATHS) vector = await this.#alone(cases.subarray(i * CASE.size, (i + 1) * CASE.size), outcome);
        if (vector === undefined) continue;
        deaths++;
        outcome.fill(0);
        new DataView(outcome.buffer, outcome.byteOffset).setUint32(OUTCOME.vector, vector, true);
      }
    }
    return outcomes;
  }

  /** Run one case; what it did to the child if that did not live through it. */
  async #alone(record: Uint8Array, outcome: Uint8Array): Promise<number | undefined> {
    try {
      await this.#exchange(record, 1, outcome);
      return undefined;
    } catch {
      return this.#overran ? ENDLESS : DIED;
    }
  }

  /**
   * Does the child's process have memory of its own at `address`: Node's program, its heap, a library? A case that strays there
   * meets what no case has, so that its outcome says nothing. What the child mapped since then counts as well.
   */
  async owns(address: bigint): Promise<boolean> {
    const at = Number(address);
    if (isGuestPage(at)) return false;
    const { pid } = this.#child ?? (await this.#start());
    return mappedRanges(pid!).some(([from, to]) => at >= from && at < to);
  }

  close(): void {
    this.#child?.stdin?.end();
    this.#child = undefined;
  }

  async #exchange(cases: Uint8Array, count: number, outcomes: Uint8Array): Promise<void> {
    const child = this.#child ?? (await this.#start());
    const header = new Uint8Array(4);
    new DataView(header.buffer).setUint32(0, count, true);
    const answer = this.#expect(outcomes);
    const mostMs = (count === 1 ? CASE_CPU_MS : BATCH_CPU_MS) + cpuMs(child);
    const stuckAt = performance.now() + STUCK_MS;
    this.#overran = false;
    const timer = setInterval(() => {
      if (cpuMs(child) <= mostMs && performance.now() <= stuckAt) return;
      this.#overran = true;
      child.kill('SIGKILL');
    }, LOOK_MS);
    child.stdin!.write(header);
    child.stdin!.write(cases);
    try {
      await answer;
    } finally {
      clearInterval(timer);
    }
  }

  #expect(target: Uint8Array): Promise<void> {
    return new Promise((done, failed) => {
      this.#waiting = { target, filled: 0, done, failed };
    });
  }

  async #start(): Promise<ChildProcess> {
    for (let attempt = 1; ; attempt++) {
      this.#lastWords = '';
      const path = fileURLToPath(new URL('oracle-child.ts', import.meta.url));
      const child = spawn(process.execPath, ['--no-warnings', path], { stdio: ['pipe', 'pipe', 'pipe'] });
      child.stderr!.on('data', (text: Buffer) => {
        this.#lastWords += text.toString();
      });
      child.stdin!.on('error', () => undefined); // The exit event tells the story.
      child.stdout!.on('data', (bytes: Buffer) => this.#receive(bytes));
      child.on('close', (code, signal) => {
        if (this.#child === child) this.#child = undefined;
        const waiting = this.#waiting;
        this.#waiting = undefined;
        waiting?.failed(new Error(`the CPU oracle ended (${signal ?? code}): ${this.#lastWords.trim()}`));
      });
      try {
        await this.#expect(new Uint8Array(1));
        this.#child = child;
        return child;
      } catch (error) {
        // Address space is laid out at random: the fixed addresses may have been taken. A new process has new luck.
        if (attempt === STARTS) throw error;
      }
    }
  }

  #receive(bytes: Buffer): void {
    const waiting = this.#waiting;
    if (!waiting) return;
    const part = bytes.subarray(0, waiting.target.length - waiting.filled);
    waiting.target.set(part, waiting.filled);
    waiting.filled += part.length;
    if (waiting.filled < waiting.target.length) return;
    this.#waiting = undefined;
    waiting.done();
  }
}
